// Sampling: the distribution against Transformers' (tests/fixtures/sampling), the draw against the distribution, and equal bits.
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "harness.h"
#include "kernels/isa/expose.h"
#include "kernels/params.h"
#include "kernels/workspace.h"

namespace intaglio::kernels {
namespace {

constexpr uint32_t kSeed = 17;

decltype(&scalar::ProbabilitiesOf) ProbabilitiesAt(Isa isa) {
  return isa == Isa::kScalar ? scalar::ProbabilitiesOf : isa == Isa::kAvx2 ? avx2::ProbabilitiesOf : avx512::ProbabilitiesOf;
}

// A sample call over its own logits.
struct Sampler {
  Matrix logits, workspace, logprobs, ids;
  std::vector<SamplingRow> rows;
  KernelCall call;
  StepView step;

  Sampler(int64_t outputs, int64_t vocab)
      : logits(outputs, vocab),
        workspace(1, SampleWorkspaceBytes(outputs, vocab) / 4),
        logprobs(outputs, sample_params::kLogprobCols),
        ids(outputs, 1, 1),
        rows(static_cast<size_t>(outputs)) {
    Tensor id_tensor = ids.tensor();
    id_tensor.dtype = DType::kI32;
    call = Call({id_tensor, logits.tensor(), workspace.tensor(), logprobs.tensor()});
    call.params.ints[kDomain] = static_cast<int64_t>(Domain::kOutputs);
    step = {.num_rows = static_cast<int32_t>(outputs), .num_outputs = static_cast<int32_t>(outputs), .sampling = rows.data()};
    std::fill_n(workspace.row(0), workspace.cols(), std::numeric_limits<float>::quiet_NaN());
  }

  int32_t Id(int64_t output) const { return call[0].i32(output)[0]; }
  int32_t Draw(Isa isa) {
    RunKernel("sample", isa, call, step, kSeed);
    return Id(0);
  }
  std::vector<float> Probabilities(Isa isa, int64_t output = 0) const {
    std::vector<float> p(static_cast<size_t>(logits.cols()));
    const Matrix scratch(1, kScratchBytes / 4);
    ProbabilitiesAt(isa)(call, step, output, scratch.tensor().data, p.data());
    return p;
  }
};

void FillNormal(const Matrix& logits, uint32_t seed, float scale) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  for (int64_t r = 0; r < logits.rows(); ++r) std::generate_n(logits.row(r), logits.cols(), [&] { return normal(random); });
}

// The fixture: rows of parameters, and the two f32 tensors that golden.safetensors holds.
struct Golden {
  nlohmann::json rows, header;
  std::string bytes;

  Golden() {
    const std::string folder = INTAGLIO_SOURCE_DIR "/tests/fixtures/sampling/";
    rows = nlohmann::json::parse(std::ifstream(folder + "golden.json")).at("rows");
    std::ifstream file(folder + "golden.safetensors", std::ios::binary);
    uint64_t header_bytes = 0;
    file.read(reinterpret_cast<char*>(&header_bytes), 8);
    std::string text(header_bytes, ' ');
    file.read(text.data(), static_cast<std::streamsize>(header_bytes));
    header = nlohmann::json::parse(text);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }
  [[nodiscard]] std::vector<float> Row(const char* name, size_t row) const {
    const auto& tensor = header.at(name);
    const auto cols = tensor.at("shape").at(1).get<size_t>();
    std::vector<float> values(cols);
    std::memcpy(values.data(), bytes.data() + tensor.at("data_offsets").at(0).get<size_t>() + row * cols * 4, cols * 4);
    return values;
  }
};

const Golden& Fixture() {
  static const Golden golden;
  return golden;
}

// One fixture row as a sampler of one output; `history` is what rows[0] points into.
struct FixtureRow {
  Sampler sampler{1, 1024};
  std::vector<int32_t> history;

  explicit FixtureRow(size_t index) {
    const auto& row = Fixture().rows.at(index);
    const std::vector<float> logits = Fixture().Row("logits", row.at("logits_row"));
    std::copy(logits.begin(), logits.end(), sampler.logits.row(0));
    history = row.at("prompt_ids").get<std::vector<int32_t>>();
    const auto prompt_size = static_cast<int32_t>(history.size());
    for (const auto& id : row.at("output_ids")) history.push_back(id.get<int32_t>());
    sampler.rows[0] = {.temperature = row.at("temperature"),
                       .top_p = row.at("top_p"),
                       .min_p = row.at("min_p"),
                       .repetition_penalty = row.at("repetition_penalty"),
                       .presence_penalty = row.at("presence_penalty"),
                       .frequency_penalty = row.at("frequency_penalty"),
                       .top_k = row.at("top_k"),
                       .seed = 1,
                       .history = history.data(),
                       .history_size = static_cast<int32_t>(history.size()),
                       .prompt_size = prompt_size,
                       .position = static_cast<int32_t>(history.size())};
  }
};

TEST(SampleFixture, EveryRowHasTransformersDistribution) {
  ASSERT_EQ(Fixture().rows.size(), 200u);
  for (size_t i = 0; i < 200; ++i) {
    const FixtureRow row(i);
    const std::vector<float> expected = Fixture().Row("probs", i), p = row.sampler.Probabilities(SupportedIsas().back());
    for (size_t id = 0; id < p.size(); ++id) {
      ASSERT_NEAR(p[id], expected[id], 1e-5) << "row " << i << ", id " << id;
      ASSERT_TRUE(p[id] > 0.0f || expected[id] <= 1e-12f) << "row " << i << ", id " << id;
    }
    const auto kept = std::count_if(p.begin(), p.end(), [](float x) { return x > 0.0f; });
    ASSERT_EQ(kept, Fixture().rows.at(i).at("n_kept").get<int64_t>()) << "row " << i;
  }
}

TEST(SampleFixture, TheMostLikelyTokenIsTransformersArgmax) {
  for (size_t i = 0; i < 200; ++i) {
    FixtureRow row(i);
    row.sampler.rows[0].temperature = 0.0f;
    for (Isa isa : SupportedIsas()) ASSERT_EQ(row.sampler.Draw(isa), Fixture().rows.at(i).at("argmax").get<int32_t>()) << "row " << i;
  }
}

TEST(SampleFixture, EveryLevelGivesTheSameDistributionAndDraws) {
  for (size_t i = 0; i < 200; ++i) {
    FixtureRow row(i);
    const std::vector<float> expected = row.sampler.Probabilities(Isa::kScalar);
    const int32_t id = row.sampler.Draw(Isa::kScalar);
    EXPECT_GT(expected[static_cast<size_t>(id)], 0.0f) << "row " << i;
    for (Isa isa : SupportedIsas()) {
      ASSERT_EQ(std::memcmp(row.sampler.Probabilities(isa).data(), expected.data(), expected.size() * 4), 0) << "row " << i;
      ASSERT_EQ(row.sampler.Draw(isa), id) << "row " << i << " " << Name(isa);
    }
  }
}

// Pearson's chi-square of draws over seeds (and positions) against the distribution; tokens expected under 5 times are one class.
double ChiSquare(Sampler& sampler, int num_draws, int* num_classes) {
  const std::vector<float> p = sampler.Probabilities(SupportedIsas().back());
  std::map<int32_t, int> counts;
  for (int i = 0; i < num_draws; ++i) {
    sampler.rows[0].seed = static_cast<uint64_t>(i / 4) * 0x9e3779b97f4a7c15ull;
    sampler.rows[0].position = i % 4;
    ++counts[sampler.Draw(SupportedIsas().back())];
  }
  double chi_square = 0, rare_expected = 0, rare_count = 0;
  *num_classes = 0;
  for (size_t id = 0; id < p.size(); ++id) {
    const double expected = static_cast<double>(p[id]) * num_draws, count = counts[static_cast<int32_t>(id)];
    EXPECT_TRUE(expected > 0 || count == 0) << id;
    if (expected < 5) {
      rare_expected += expected;
      rare_count += count;
      continue;
    }
    chi_square += (count - expected) * (count - expected) / expected;
    ++*num_classes;
  }
  if (rare_expected >= 5) {
    chi_square += (rare_count - rare_expected) * (rare_count - rare_expected) / rare_expected;
    ++*num_classes;
  }
  return chi_square;
}

// The draws are fixed by their seeds, so these statistics are constants: 4 standard deviations would be met by chance once in 30000.
TEST(SampleDraw, FollowsTheDistribution) {
  for (const auto& [top_k, top_p, min_p] :
       {std::tuple(0, 1.0f, 0.0f), std::tuple(8, 1.0f, 0.0f), std::tuple(0, 0.8f, 0.0f), std::tuple(0, 1.0f, 0.05f)}) {
    Sampler sampler(1, 200);
    FillNormal(sampler.logits, kSeed, 2.0f);
    sampler.rows[0] = {.temperature = 0.9f, .top_p = top_p, .min_p = min_p, .top_k = top_k};
    int classes = 0;
    const double chi_square = ChiSquare(sampler, 20000, &classes);
    ASSERT_GT(classes, 4);
    EXPECT_LE(chi_square, classes - 1 + 4 * std::sqrt(2.0 * (classes - 1))) << "top_k " << top_k << ", top_p " << top_p << ", min_p " << min_p;
  }
}

TEST(SampleDraw, IsUniformOverManyEqualTokens) {
  Sampler sampler(1, 100);
  std::fill_n(sampler.logits.row(0), 100, 1.0f);
  sampler.rows[0].temperature = 1.0f;
  int classes = 0;
  EXPECT_LE(ChiSquare(sampler, 20000, &classes), 99 + 4 * std::sqrt(2.0 * 99));
  EXPECT_EQ(classes, 100);
}

TEST(SampleDraw, DependsOnSeedAndPositionOnly) {
  constexpr int64_t kVocab = 40000;   // large: segments are tasks
  Sampler alone(1, kVocab), among(3, kVocab);
  FillNormal(alone.logits, kSeed, 1.0f);
  FillNormal(among.logits, kSeed + 1, 1.0f);
  std::copy_n(alone.logits.row(0), kVocab, among.logits.row(1));
  for (const auto& [top_k, top_p] : {std::pair(0, 1.0f), std::pair(50, 1.0f), std::pair(0, 0.9f), std::pair(200, 0.9f)}) {
    const SamplingRow row{.temperature = 1.0f, .top_p = top_p, .top_k = top_k, .seed = 5, .position = 9};
    alone.rows[0] = among.rows[1] = row;
    const int32_t id = alone.Draw(Isa::kScalar);
    for (Isa isa : SupportedIsas()) {
      EXPECT_EQ(alone.Draw(isa), id) << Name(isa);
      among.Draw(isa);
      EXPECT_EQ(among.Id(1), id) << Name(isa);
    }
    std::map<int32_t, int> ids;
    for (int32_t position = 0; position < 20; ++position) {
      alone.rows[0].position = position;
      ++ids[alone.Draw(SupportedIsas().back())];
    }
    EXPECT_GT(ids.size(), 10u);
  }
}

// Thresholds by radix selection against sorting, where the pruning of large vocabularies is at work.
TEST(SampleFilter, KeepsWhatSortingKeepsInALargeVocabulary) {
  constexpr int64_t kVocab = 30011;
  for (const float scale : {0.01f, 1.0f, 6.0f}) {
    Sampler sampler(1, kVocab);
    FillNormal(sampler.logits, kSeed, scale);
    std::vector<float> sorted(sampler.logits.row(0), sampler.logits.row(0) + kVocab);
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    double sum = 0, above = 0;
    for (float x : sorted) sum += std::exp(static_cast<double>(x - sorted[0]));
    for (const int k : {1, 40, 128, 129, 5000}) {
      sampler.rows[0] = {.temperature = 1.0f, .top_k = k};
      const std::vector<float> p = sampler.Probabilities(SupportedIsas().back());
      for (size_t id = 0; id < p.size(); ++id) ASSERT_EQ(p[id] > 0, sampler.logits.row(0)[id] >= sorted[static_cast<size_t>(k - 1)]) << k;
    }
    for (const float top_p : {0.0f, 0.1f, 0.5f, 0.95f, 0.999f}) {
      sampler.rows[0] = {.temperature = 1.0f, .top_p = top_p};
      const std::vector<float> p = sampler.Probabilities(SupportedIsas().back());
      size_t kept = 1;
      for (above = 1; kept < sorted.size() && above / sum < static_cast<double>(top_p); ++kept)
        above += std::exp(static_cast<double>(sorted[kept] - sorted[0]));
      const auto count = std::count_if(p.begin(), p.end(), [](float x) { return x > 0; });
      EXPECT_NEAR(static_cast<double>(count), static_cast<double>(kept), 1 + 1e-4 * static_cast<double>(kept)) << scale << " " << top_p;
    }
  }
}

TEST(SampleFilter, TopKKeepsTies) {
  Sampler sampler(1, 64);
  std::fill_n(sampler.logits.row(0), 64, 0.0f);
  for (int id : {3, 17, 40}) sampler.logits.row(0)[id] = 2.0f;
  sampler.rows[0] = {.temperature = 1.0f, .top_k = 2};
  const std::vector<float> p = sampler.Probabilities(SupportedIsas().back());
  for (int id = 0; id < 64; ++id) EXPECT_NEAR(p[static_cast<size_t>(id)], id == 3 || id == 17 || id == 40 ? 1.0 / 3 : 0.0, 1e-6);
}

TEST(SampleGreedy, TakesTheLowestOfEqualIds) {
  for (const int64_t vocab : {50, 20000}) {
    Sampler sampler(1, vocab);
    for (Isa isa : SupportedIsas()) {
      std::fill_n(sampler.logits.row(0), vocab, -1.0f);
      EXPECT_EQ(sampler.Draw(isa), 0);
      sampler.logits.row(0)[vocab - 1] = sampler.logits.row(0)[vocab / 2] = sampler.logits.row(0)[19] = 4.0f;
      EXPECT_EQ(sampler.Draw(isa), 19);
    }
  }
}

TEST(SamplePenalties, CountOutputTokensOnceAndPromptTokensForRepetitionOnly) {
  Sampler sampler(1, 32);
  std::fill_n(sampler.logits.row(0), 32, 0.0f);
  const int32_t history[] = {1, 2, 2, 3, 4, 4, -7, 1000};   // ids that no vocabulary has are ignored
  sampler.logits.row(0)[1] = 2.0f, sampler.logits.row(0)[3] = -2.0f;
  sampler.rows[0] = {.temperature = 1.0f,
                     .repetition_penalty = 2.0f,
                     .presence_penalty = 0.25f,
                     .frequency_penalty = 0.5f,
                     .history = history,
                     .history_size = 8,
                     .prompt_size = 3};
  const std::vector<float> p = sampler.Probabilities(SupportedIsas().back());
  const auto logit = [&](int id) { return std::log(p[static_cast<size_t>(id)] / p[0]); };
  EXPECT_NEAR(logit(1), 1.0, 1e-5);            // prompt: 2 / 2
  EXPECT_NEAR(logit(2), 0.0, 1e-5);            // prompt only: no count
  EXPECT_NEAR(logit(3), -4.0 - 0.75, 1e-5);    // output once: -2 * 2, then both penalties
  EXPECT_NEAR(logit(4), -2 * 0.5 - 0.25, 1e-5);
}

TEST(SampleLogprobs, AreThoseOfTheRawLogitsMostLikelyFirst) {
  for (const int64_t vocab : {100, 20000}) {
    Sampler sampler(1, vocab);
    FillNormal(sampler.logits, kSeed, 3.0f);
    sampler.logits.row(0)[60] = sampler.logits.row(0)[61] = 30.0f;   // a tie at the top
    const int32_t history[] = {60};
    sampler.rows[0] = {.temperature = 0.7f, .repetition_penalty = 100.0f, .top_k = 1, .num_logprobs = 5, .history = history, .history_size = 1};
    std::vector<int32_t> order(static_cast<size_t>(vocab));
    std::iota(order.begin(), order.end(), 0);
    const float* logits = sampler.logits.row(0);
    std::stable_sort(order.begin(), order.end(), [logits](int32_t a, int32_t b) { return logits[a] > logits[b]; });
    double sum = 0;
    for (int64_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(logits[i]));
    const auto exact = [&](int32_t id) { return static_cast<double>(logits[id]) - std::log(sum); };
    for (Isa isa : SupportedIsas()) {
      const int32_t id = sampler.Draw(isa);
      EXPECT_EQ(id, 61);
      EXPECT_NEAR(sampler.logprobs.row(0)[0], exact(id), 1e-5);
      for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(sampler.call[3].i32(0)[1 + i], order[static_cast<size_t>(i)]);
        EXPECT_NEAR(sampler.logprobs.row(0)[1 + sample_params::kMaxLogprobs + i], exact(order[static_cast<size_t>(i)]), 2e-5);
      }
    }
  }
}

TEST(SampleLogprobs, OfAVocabularySmallerThanAskedForEndInNoId) {
  Sampler sampler(1, 3);
  FillNormal(sampler.logits, kSeed, 1.0f);
  sampler.rows[0] = {.num_logprobs = 1000};
  sampler.Draw(SupportedIsas().back());
  EXPECT_GE(sampler.call[3].i32(0)[3], 0);
  EXPECT_EQ(sampler.call[3].i32(0)[4], -1);
  EXPECT_EQ(sampler.call[3].i32(0)[20], -1);
}

TEST(SampleRobustness, StrangeLogitsGiveOneAnswerAtEveryLevel) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();
  for (const int64_t vocab : {33, 17000}) {
    Sampler sampler(1, vocab);
    for (const auto& [first, others] :
         {std::pair(kNan, kNan), std::pair(-kInf, -kInf), std::pair(kNan, 1.0f), std::pair(kInf, kInf), std::pair(kInf, kNan)}) {
      std::fill_n(sampler.logits.row(0), vocab, others);
      sampler.logits.row(0)[0] = first;
      for (const float temperature : {0.0f, 1e-30f, 1.0f}) {
        for (const int top_k : {0, 5}) {
          sampler.rows[0] = {.temperature = temperature, .top_p = top_k == 0 ? 1.0f : 0.5f, .min_p = 2.0f, .top_k = top_k, .num_logprobs = 20};
          const int32_t id = sampler.Draw(Isa::kScalar);
          EXPECT_TRUE(id >= 0 && id < vocab);
          EXPECT_TRUE(id != 0 || !std::isnan(first) || std::isnan(others));
          for (Isa isa : SupportedIsas()) EXPECT_EQ(sampler.Draw(isa), id) << Name(isa);
        }
      }
    }
  }
}

TEST(Sample, CheckRefusesWhatDoesNotFit) {
  const Kernel* kernel = FindKernel("sample", Isa::kScalar);
  const Sampler sampler(2, 100);
  EXPECT_EQ(kernel->check(sampler.call), nullptr);
  const auto with = [&](int operand, auto change) {
    KernelCall call = sampler.call;
    change(call.operands[static_cast<size_t>(operand)]);
    return kernel->check(call);
  };
  EXPECT_EQ(with(3, [](Tensor& t) { t = {}; }), nullptr);   // log-probabilities are optional
  EXPECT_NE(with(0, [](Tensor& t) { t.dtype = DType::kF32; }), nullptr);
  EXPECT_NE(with(0, [](Tensor& t) { t.rows = 3; }), nullptr);
  EXPECT_NE(with(1, [](Tensor& t) { t.cols = t.stride = 200; }), nullptr);
  EXPECT_NE(with(1, [](Tensor& t) { t.cols = t.stride = int64_t{1} << 40; }), nullptr);
  EXPECT_NE(with(2, [](Tensor& t) { t.cols = t.stride = t.cols - 16; }), nullptr);
  EXPECT_NE(with(2, [](Tensor& t) { t.rows = INT64_MAX; }), nullptr);
  EXPECT_NE(with(3, [](Tensor& t) { t.cols = 40; }), nullptr);
  KernelCall rows = sampler.call;
  rows.params.ints[kDomain] = 0;
  EXPECT_NE(kernel->check(rows), nullptr);
}

}  // namespace
}  // namespace intaglio::kernels
