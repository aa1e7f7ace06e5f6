// Ranks that share a vocabulary sample what one rank samples, to the bit. The ranks take turns in one thread, each at an instruction-set
// level of its own; the test does their gathers.
#include "kernels/sample_ranks.h"

#include <cmath>

#include "kernels/params.h"
#include "kernels/vocabulary.h"
#include "kernels/workspace.h"
#include "tests/kernels/harness.h"

namespace intaglio::kernels {
namespace {

constexpr uint32_t kSeed = 41;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

Tensor AsInts(Tensor tensor) {
  tensor.dtype = DType::kI32;
  return tensor;
}

// Logits, what their rows ask for, and one rank's answer.
struct Problem {
  Matrix logits;
  std::vector<SamplingRow> rows;
  std::vector<int32_t> history;

  Problem(int64_t outputs, int64_t vocab) : logits(outputs, vocab), rows(static_cast<size_t>(outputs)) {}
  [[nodiscard]] StepView step() const {
    const auto outputs = static_cast<int32_t>(rows.size());
    return {.num_rows = outputs, .num_outputs = outputs, .sampling = rows.data()};
  }
};

struct Answer {
  Matrix ids, logprobs;
  explicit Answer(int64_t outputs) : ids(outputs, 1, 1), logprobs(outputs, sample_params::kLogprobCols) {}
  [[nodiscard]] bool operator==(const Answer& other) const { return SameBits(ids, other.ids) && SameBits(logprobs, other.logprobs); }
};

Answer OneRank(const Problem& problem) {
  Answer answer(problem.logits.rows());
  const Matrix workspace(1, SampleWorkspaceBytes(problem.logits.rows(), problem.logits.cols()) / 4);
  KernelCall call = Call({AsInts(answer.ids.tensor()), problem.logits.tensor(), workspace.tensor(), answer.logprobs.tensor()});
  call.params.ints[kDomain] = static_cast<int64_t>(Domain::kOutputs);
  RunKernel("sample", SupportedIsas().back(), call, problem.step());
  return answer;
}

// One rank of several, with its columns of the logits.
class Rank {
 public:
  Rank(const Problem& problem, int rank, int num_ranks)
      : problem_(problem),
        first_(SegmentBorder(problem.logits.cols(), FirstSegment(rank, num_ranks))),
        logits_(problem.logits.rows(), SegmentBorder(problem.logits.cols(), FirstSegment(rank + 1, num_ranks)) - first_),
        workspace_(1, SampleRanksWorkspaceBytes(logits_.rows(), problem.logits.cols(), logits_.cols()) / 4),
        answer_(logits_.rows()),
        isa_(SupportedIsas()[static_cast<size_t>(rank) % SupportedIsas().size()]) {
    for (int64_t r = 0; r < logits_.rows(); ++r) std::copy_n(problem.logits.row(r) + first_, logits_.cols(), logits_.row(r));
    std::fill_n(workspace_.row(0), workspace_.cols(), kNan);
    params_.ints[kDomain] = static_cast<int64_t>(Domain::kOutputs);
    params_.ints[sample_params::kVocab] = problem.logits.cols();
    params_.ints[sample_params::kFirstSegment] = FirstSegment(rank, num_ranks);
    params_.ints[sample_params::kNumSegments] = FirstSegment(rank + 1, num_ranks) - FirstSegment(rank, num_ranks);
    params_.ints[sample_params::kOutputs] = logits_.rows();
    params_.ints[sample_params::kHasLogprobs] = 1;
    EXPECT_EQ(CheckSampleGather(Gathering(), rank, num_ranks), nullptr);
  }
  void Run(const char* name) const { RunKernel(name, isa_, With({logits_.tensor(), workspace_.tensor()}), problem_.step(), kSeed); }
  void Decide() const {
    RunKernel("sample_decide", isa_, With({AsInts(answer_.ids.tensor()), workspace_.tensor(), answer_.logprobs.tensor()}), problem_.step(), kSeed);
  }
  [[nodiscard]] KernelCall Gathering(int64_t round = 0) const {
    KernelCall call = With({workspace_.tensor()});
    call.params.ints[sample_params::kRound] = round;
    return call;
  }
  [[nodiscard]] KernelCall With(std::initializer_list<Tensor> operands) const {
    KernelCall call = Call(operands);
    call.params = params_;
    return call;
  }
  [[nodiscard]] const Answer& answer() const { return answer_; }
  [[nodiscard]] const Matrix& logits() const { return logits_; }
  [[nodiscard]] const Matrix& workspace() const { return workspace_; }

 private:
  const Problem& problem_;
  int64_t first_;
  Matrix logits_, workspace_;
  Answer answer_;
  Params params_;
  Isa isa_;
};

class Group {
 public:
  Group(const Problem& problem, int num_ranks) : problem_(problem) {
    for (int r = 0; r < num_ranks; ++r) ranks_.push_back(std::make_unique<Rank>(problem, r, num_ranks));
    for (const auto& rank : ranks_) rank->Run("sample_local");
    Gather([&](const Rank& rank) { return GatherOfResults(rank.Gathering(), problem_.step(), num_ranks); });
    for (const auto& rank : ranks_) rank->Run("sample_draw");
    Gather([&](const Rank& rank) { return GatherOfResults(rank.Gathering(1), problem_.step(), num_ranks); });
    for (const auto& rank : ranks_) rank->Run("sample_pick");
    Gather([&](const Rank& rank) { return GatherOfCandidateBytes(rank.Gathering(), problem_.step(), num_ranks); });
    candidate_bytes_ = Gather([&](const Rank& rank) { return PackCandidates(rank.Gathering(), problem_.step(), num_ranks); });
    for (const auto& rank : ranks_) rank->Decide();
  }
  // True when every rank has this answer.
  [[nodiscard]] bool AllHave(const Answer& answer) const {
    return std::ranges::all_of(ranks_, [&](const auto& rank) { return rank->answer() == answer && rank->logits().HasIntactPadding(); });
  }
  [[nodiscard]] size_t candidate_bytes() const { return candidate_bytes_; }

 private:
  // Gives every rank the others' shares; returns how many bytes were gathered.
  template <typename GatherOf>
  size_t Gather(GatherOf gather_of) {
    std::vector<SampleGather> gathers;
    for (const auto& rank : ranks_) gathers.push_back(gather_of(*rank));
    for (const SampleGather& to : gathers) {
      EXPECT_EQ(to.bytes.size(), gathers[0].bytes.size());
      EXPECT_EQ(to.borders, gathers[0].borders);
      if (to.bytes.empty()) continue;
      EXPECT_EQ(to.borders[gathers.size()], std::ssize(to.bytes));
      for (size_t from = 0; from < gathers.size(); ++from) {
        const auto begin = static_cast<size_t>(to.borders[from]), end = static_cast<size_t>(to.borders[from + 1]);
        if (&to != &gathers[from]) std::memcpy(to.bytes.data() + begin, gathers[from].bytes.data() + begin, end - begin);
      }
    }
    return gathers[0].bytes.size();
  }

  const Problem& problem_;
  std::vector<std::unique_ptr<Rank>> ranks_;
  size_t candidate_bytes_ = 0;
};

std::vector<int> DegreesOf(int64_t vocab) { return vocab >= 128 ? std::vector{1, 2, 3, 4, 5, 6, 7, 8} : std::vector{1, 2}; }

void ExpectOneAnswer(const Problem& problem, const std::string& what) {
  const Answer expected = OneRank(problem);
  for (int num_ranks : DegreesOf(problem.logits.cols())) {
    ASSERT_TRUE(Group(problem, num_ranks).AllHave(expected)) << what << ", " << num_ranks << " ranks, vocabulary " << problem.logits.cols();
  }
}

// Anything that a request may ask for.
SamplingRow RandomRow(Problem& problem, std::mt19937& random) {
  const auto one_of = [&](auto... values) {
    const std::array all{values...};
    return all[random() % all.size()];
  };
  SamplingRow row{.temperature = one_of(0.0f, 0.3f, 1.0f, 1.7f),
                  .top_p = one_of(1.0f, 1.0f, 0.0f, 0.3f, 0.9f, 0.999f),
                  .min_p = one_of(0.0f, 0.0f, 0.05f, 2.0f),
                  .top_k = one_of(0, 0, 1, 7, 50, 129, 1000),
                  .num_logprobs = one_of(0, 0, 1, 5, 20),
                  .seed = random(),
                  .position = static_cast<int32_t>(random() % 1000)};
  if (random() % 3 == 0) {
    row.repetition_penalty = 1.4f, row.presence_penalty = 0.25f, row.frequency_penalty = 0.5f;
    row.history = problem.history.data(), row.history_size = static_cast<int32_t>(problem.history.size()), row.prompt_size = 20;
  }
  return row;
}

Problem RandomProblem(int64_t outputs, int64_t vocab, std::mt19937& random) {
  Problem problem(outputs, vocab);
  for (int i = 0; i < 60; ++i) problem.history.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocab + 3)) - 1);
  std::normal_distribution<float> normal;
  for (int64_t r = 0; r < outputs; ++r) {
    problem.rows[static_cast<size_t>(r)] = RandomRow(problem, random);
    const std::array scales{0.01f, 1.0f, 3.0f, 8.0f};
    const float scale = scales[random() % scales.size()];
    // A third of the rows has few different values, so that everything ties.
    const bool is_coarse = random() % 3 == 0;
    std::generate_n(problem.logits.row(r), vocab, [&] { return is_coarse ? std::round(normal(random) * 2) : normal(random) * scale; });
  }
  return problem;
}

TEST(SampleRanks, GiveOneRanksBitsWhateverIsAskedFor) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  for (const auto& [vocab, repeats] :
       {std::pair(40, 8), std::pair(128, 20), std::pair(131, 20), std::pair(1000, 12), std::pair(16400, 2), std::pair(40003, 2)}) {
    for (int repeat = 0; repeat < repeats; ++repeat) ExpectOneAnswer(RandomProblem(9, vocab, random), "repeat " + std::to_string(repeat));
  }
}

// Each row's strange values are elsewhere: in one rank, at the borders of ranks, in the last columns.
TEST(SampleRanks, GiveOneRanksBitsForStrangeLogits) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed + 1);
  for (const int64_t vocab : {128, 1000, 16411}) {
    for (const auto& [strange, others] : {std::pair(kNan, kNan), std::pair(-kInf, -kInf), std::pair(kNan, 1.0f), std::pair(kInf, 0.0f),
                                          std::pair(kInf, kNan), std::pair(2.0f, -kInf), std::pair(-0.0f, 0.0f), std::pair(3.4e38f, kInf)}) {
      Problem problem = RandomProblem(12, vocab, random);
      for (int64_t r = 0; r < 12; ++r) {
        float* row = problem.logits.row(r);
        if (r % 2 == 0) std::fill_n(row, vocab, others);
        for (int s = 0; s < kSegments; ++s) row[SegmentBorder(vocab, s) + r % 3] = strange;
        row[vocab - 1 - r] = strange;
      }
      ExpectOneAnswer(problem, std::to_string(strange) + " among " + std::to_string(others));
    }
  }
}

TEST(SampleRanks, TakeTheLowestOfEqualIdsAcrossTheirBorders) {
  constexpr int64_t kVocab = 1024;
  for (const float temperature : {0.0f, 1.0f}) {
    for (int s = 1; s < kSegments; ++s) {
      Problem problem(1, kVocab);
      std::fill_n(problem.logits.row(0), kVocab, -100.0f);
      problem.logits.row(0)[SegmentBorder(kVocab, s)] = problem.logits.row(0)[SegmentBorder(kVocab, s) - 1] = 5.0f;
      problem.rows[0] = {.temperature = temperature, .top_k = 1, .num_logprobs = 2, .seed = 3};
      ExpectOneAnswer(problem, "border " + std::to_string(s));
      if (temperature == 0.0f) { EXPECT_EQ(AsInts(OneRank(problem).ids.tensor()).i32()[0], SegmentBorder(kVocab, s) - 1); }
    }
  }
}

TEST(SampleRanks, GatherNothingThatNoRowNeeds) {
  std::mt19937 random(kSeed);
  Problem problem = RandomProblem(2, 256, random);
  const Rank rank(problem, 0, 2);
  const auto sizes = [&](const SamplingRow& row) {
    problem.rows = {row, row};
    return std::vector{GatherOfResults(rank.Gathering(0), problem.step(), 2).bytes.size(),
                       GatherOfResults(rank.Gathering(1), problem.step(), 2).bytes.size(),
                       GatherOfCandidateBytes(rank.Gathering(), problem.step(), 2).bytes.size()};
  };
  constexpr size_t kResults = 2 * kSegments * sizeof(SegmentResult), kCounts = 2 * kSegments * sizeof(int64_t);
  EXPECT_EQ(sizes({}), (std::vector<size_t>{kResults, 0, 0}));
  EXPECT_EQ(sizes({.temperature = 1.0f}), (std::vector<size_t>{kResults, kResults, 0}));
  EXPECT_EQ(sizes({.temperature = 1.0f, .top_k = 5}), (std::vector<size_t>{kResults, 0, kCounts}));
  EXPECT_EQ(sizes({.temperature = 1.0f, .top_p = 0.5f}), (std::vector<size_t>{kResults, kResults, kCounts}));
  EXPECT_EQ(sizes({.num_logprobs = 1}), (std::vector<size_t>{kResults, kResults, kCounts}));
}

TEST(SampleRanks, SendFewOfManyLogits) {
  std::mt19937 random(kSeed);
  Problem problem(1, 100000);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  std::generate_n(problem.logits.row(0), 100000, [&] { return normal(random); });
  problem.rows[0] = {.temperature = 1.0f, .top_k = 50};
  EXPECT_LT(Group(problem, 4).candidate_bytes(), 100 * 68u);   // a vector of 16 for each candidate, at worst
}

TEST(SampleRanks, LeaveRowsThatAreNotLiveAlone) {
  std::mt19937 random(kSeed);
  Problem whole = RandomProblem(5, 500, random);
  whole.rows.resize(3);   // of five that the plan has room for
  const Answer expected = OneRank(whole);
  EXPECT_EQ(*expected.ids.row(3), Matrix::kSentinel);
  for (int num_ranks : {2, 8}) EXPECT_TRUE(Group(whole, num_ranks).AllHave(expected)) << num_ranks;
}

// Whatever W holds, nobody leaves it, and ids are of the vocabulary.
TEST(SampleRanks, DecideOnGarbageWithinBounds) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  for (int repeat = 0; repeat < 200; ++repeat) {
    const Problem problem = RandomProblem(6, 300, random);
    const Rank rank(problem, 1, 2);
    auto* words = reinterpret_cast<uint32_t*>(rank.workspace().row(0));
    const uint32_t mask = repeat % 2 == 0 ? 0xffffffffu : 0xffu;
    std::generate_n(words, rank.workspace().cols(), [&] { return static_cast<uint32_t>(random()) & mask; });
    const SampleGather gather = PackCandidates(rank.Gathering(), problem.step(), 2);
    const auto* end = reinterpret_cast<const std::byte*>(rank.workspace().row(0) + rank.workspace().cols());
    if (!gather.bytes.empty()) { EXPECT_LE(gather.bytes.data() + gather.bytes.size(), end); }
    EXPECT_TRUE(std::is_sorted(gather.borders.begin(), gather.borders.begin() + 3));
    rank.Decide();
    for (int64_t r = 0; r < 6; ++r) {
      const int32_t id = AsInts(rank.answer().ids.tensor()).i32(r)[0];
      EXPECT_TRUE(id >= 0 && id < 300) << id;
    }
    EXPECT_TRUE(rank.answer().logprobs.HasIntactPadding() && rank.workspace().HasIntactPadding());
  }
}

TEST(SampleRankChecks, RefuseWhatDoesNotFit) {
  std::mt19937 random(kSeed);
  const Problem problem = RandomProblem(3, 500, random);
  const Rank rank(problem, 1, 4);
  const auto check = [](const char* name, const KernelCall& call) { return FindKernel(name, Isa::kScalar)->check(call); };
  const auto with = [&](int index, int64_t value) {
    KernelCall call = rank.With({rank.logits().tensor(), rank.workspace().tensor()});
    call.params.ints[static_cast<size_t>(index)] = value;
    return call;
  };
  for (const char* name : {"sample_local", "sample_draw", "sample_pick"}) {
    EXPECT_EQ(check(name, with(sample_params::kOutputs, 3)), nullptr);
    for (const auto& [index, value] : {std::pair<int, int64_t>(sample_params::kVocab, 0),
                                       {sample_params::kVocab, int64_t{1} << 40},
                                       {sample_params::kVocab, 520},
                                       {sample_params::kFirstSegment, -1},
                                       {sample_params::kFirstSegment, 7},
                                       {sample_params::kFirstSegment, int64_t{1} << 32},
                                       {sample_params::kNumSegments, 0},
                                       {sample_params::kNumSegments, 9},
                                       {sample_params::kOutputs, 4},
                                       {sample_params::kOutputs, int64_t{1} << 40},
                                       {sample_params::kRound, 2},
                                       {kDomain, 0}}) {
      EXPECT_NE(check(name, with(index, value)), nullptr) << name << " " << index << ", " << value;
    }
  }
  KernelCall small = with(sample_params::kOutputs, 3);
  small.operands[1].cols = small.operands[1].stride = small.operands[1].cols - 1;
  EXPECT_STREQ(check("sample_pick", small), "the workspace is too small");
  KernelCall decide = rank.With({AsInts(rank.answer().ids.tensor()), rank.workspace().tensor(), rank.answer().logprobs.tensor()});
  EXPECT_EQ(check("sample_decide", decide), nullptr);
  decide.params.ints[sample_params::kHasLogprobs] = 0;
  EXPECT_NE(check("sample_decide", decide), nullptr);
  decide.operands[2] = {};
  EXPECT_EQ(check("sample_decide", decide), nullptr);
  decide.operands[0].rows = 2;
  EXPECT_NE(check("sample_decide", decide), nullptr);
  EXPECT_NE(CheckSampleGather(rank.Gathering(), 2, 4), nullptr);
  EXPECT_NE(CheckSampleGather(rank.Gathering(), 1, 8), nullptr);
  EXPECT_NE(CheckSampleGather(rank.Gathering(), 1, 9), nullptr);
}

}  // namespace
}  // namespace intaglio::kernels
