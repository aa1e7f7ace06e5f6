// Attention of encoders, whose queries see the keys on both sides of them: against double, and by memcmp against itself.
#include "kv_harness.h"

namespace intaglio::kernels {
namespace {

constexpr uint32_t kSeed = 29;
constexpr Heads kFull{.heads = 4, .kv_heads = 4, .head_dim = 16, .window = 0, .both_ways = true},
    kGrouped{.heads = 6, .kv_heads = 2, .head_dim = 24, .window = 0, .both_ways = true},
    kSliding{.heads = 2, .kv_heads = 1, .head_dim = 32, .window = 9, .both_ways = true},
    kWide{.heads = 3, .kv_heads = 1, .head_dim = 80, .window = 150, .both_ways = true};

std::vector<StepRow> WholeSequence(int32_t slot, int64_t length) {
  std::vector<StepRow> rows;
  for (int32_t p = 0; p < length; ++p) rows.push_back({slot, p});
  return rows;
}

std::vector<Sequence> Sequences(const Heads& heads, const std::vector<int64_t>& lengths) {
  std::mt19937 random(kSeed);
  std::vector<Sequence> sequences;
  for (int64_t length : lengths) sequences.emplace_back(heads, length, random);
  return sequences;
}

// Every sequence in a step and a world of its own.
std::vector<Sequence> Alone(const Heads& heads, const std::vector<int64_t>& lengths, Isa isa, bool has_workspace = true, uint32_t order_seed = 1) {
  std::vector<Sequence> sequences = Sequences(heads, lengths);
  for (size_t slot = 0; slot < lengths.size(); ++slot) {
    KvWorld world(heads, static_cast<int>(lengths.size()), order_seed);
    world.Step(isa, WholeSequence(static_cast<int32_t>(slot), lengths[slot]), sequences, has_workspace, order_seed);
  }
  return sequences;
}

// One query of one head over the keys within the window, in double.
std::vector<double> Reference(const Heads& h, const Sequence& s, int64_t position, int64_t head) {
  const int64_t d = h.head_dim, kv_head = head / (h.heads / h.kv_heads), length = s.k.rows();
  std::vector<double> weights, out(static_cast<size_t>(d), 0.0);
  double sum = 0.0;
  for (int64_t p = 0; p < length; ++p) {
    double score = 0.0;
    for (int64_t i = 0; i < d; ++i) score += static_cast<double>(s.q.row(position)[head * d + i]) * s.k.row(p)[kv_head * d + i];
    const bool is_visible = h.window == 0 || std::abs(p - position) < h.window;
    weights.push_back(is_visible ? std::exp(score / std::sqrt(static_cast<double>(d))) : 0.0);
    sum += weights.back();
  }
  for (int64_t p = 0; p < length; ++p) {
    for (int64_t i = 0; i < d; ++i) out[static_cast<size_t>(i)] += weights[static_cast<size_t>(p)] / sum * s.v.row(p)[kv_head * d + i];
  }
  return out;
}

void ExpectSameOutputs(const std::vector<Sequence>& a, const std::vector<Sequence>& b, const std::string& what) {
  for (size_t slot = 0; slot < a.size(); ++slot) EXPECT_TRUE(SameBits(a[slot].out, b[slot].out)) << what << ", slot " << slot;
}

TEST(BothWays, MatchesDoubleOnBothSidesOfAQuery) {
  for (const Heads& h : {kFull, kGrouped, kSliding, kWide}) {
    const std::vector<Sequence> sequences = Alone(h, {300, 1, 2, 65}, SupportedIsas().back());
    double worst = 0.0;
    for (const Sequence& s : sequences) {
      for (int64_t position : {0, 1, 7, 8, 9, 63, 64, 150, 255, 256, 299}) {
        if (position >= s.q.rows()) continue;
        for (int64_t head = 0; head < h.heads; ++head) {
          const std::vector<double> expected = Reference(h, s, position, head);
          for (int64_t i = 0; i < h.head_dim; ++i) {
            worst = std::max(worst, std::fabs(expected[static_cast<size_t>(i)] - s.out.row(position)[head * h.head_dim + i]));
          }
        }
      }
    }
    EXPECT_LE(worst, 3e-6) << "window " << h.window;
  }
}

TEST(BothWays, GivesTheSameBitsAtEveryLevel) {
  for (const Heads& h : {kFull, kGrouped, kSliding, kWide}) {
    const std::vector<Sequence> expected = Alone(h, {270, 5}, Isa::kScalar);
    for (Isa isa : SupportedIsas()) ExpectSameOutputs(Alone(h, {270, 5}, isa, true, 2), expected, std::string(Name(isa)));
  }
}

TEST(BothWays, IsTheSameAloneAndBesideOtherSequences) {
  const std::vector<int64_t> lengths{40, 270, 1, 129, 13};
  for (const Heads& h : {kFull, kGrouped, kSliding, kWide}) {
    const std::vector<Sequence> expected = Alone(h, lengths, SupportedIsas().back());
    std::vector<Sequence> sequences = Sequences(h, lengths);
    KvWorld world(h, 5, 99);
    std::vector<StepRow> step;
    for (int32_t slot : {3, 0, 4, 1, 2}) {
      const std::vector<StepRow> rows = WholeSequence(slot, lengths[static_cast<size_t>(slot)]);
      step.insert(step.end(), rows.begin(), rows.end());
    }
    world.Step(SupportedIsas().back(), step, sequences, true, kSeed);
    ExpectSameOutputs(sequences, expected, "shared step");
  }
}

// Where few rows share a step its spans may go to tasks of their own; a whole sequence of more than one span has more rows than that, so the
// two ways are compared on the last rows of one, whose keys are all in the cache.
TEST(BothWays, IsTheSameWithAndWithoutAWorkspace) {
  for (const Heads& h : {kFull, kWide}) {
    const std::vector<Sequence> expected = Alone(h, {600}, SupportedIsas().back());
    for (bool has_workspace : {false, true}) {
      std::vector<Sequence> sequences = Sequences(h, {600});
      KvWorld world(h, 1, 3);
      world.Step(SupportedIsas().back(), WholeSequence(0, 600), sequences, false, 1);
      std::fill_n(sequences[0].out.row(592), sequences[0].out.cols(), 0.0f);
      std::vector<StepRow> last;
      for (int32_t p = 592; p < 600; ++p) last.push_back({0, p});
      world.Step(SupportedIsas().back(), last, sequences, has_workspace, 5);
      ExpectSameOutputs(sequences, expected, has_workspace ? "workspace" : "no workspace");
    }
  }
}

}  // namespace
}  // namespace intaglio::kernels
