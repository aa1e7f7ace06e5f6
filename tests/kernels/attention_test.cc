// Attention against double, and by memcmp against itself: a query's bits must not depend on how its step, its chunk, its neighbours,
// its blocks, the tasks or the level were chosen.
#include <set>

#include "kernels/attention_table.h"
#include "kv_harness.h"

namespace intaglio::kernels {
namespace {

constexpr uint32_t kSeed = 13;

std::vector<Sequence> Sequences(const Heads& heads, std::initializer_list<int64_t> lengths) {
  std::mt19937 random(kSeed);
  std::vector<Sequence> sequences;
  for (int64_t length : lengths) sequences.emplace_back(heads, length, random);
  return sequences;
}

// How the sequences are walked. chunk 0: all of a sequence at once.
struct Walk {
  Isa isa = SupportedIsas().back();
  int32_t chunk = 0;
  bool has_workspace = true;
  uint32_t order_seed = 1;
};

std::vector<StepRow> Rows(int32_t slot, int64_t begin, int64_t end) {
  std::vector<StepRow> rows;
  for (int64_t p = begin; p < end; ++p) rows.push_back({slot, static_cast<int32_t>(p)});
  return rows;
}

// Runs slot `slot` alone, in chunks.
void WalkAlone(const Walk& walk, KvWorld& world, int32_t slot, std::vector<Sequence>& sequences) {
  const int64_t length = sequences[static_cast<size_t>(slot)].q.rows(), chunk = walk.chunk == 0 ? length : walk.chunk;
  for (int64_t begin = 0; begin < length; begin += chunk) {
    world.Step(walk.isa, Rows(slot, begin, std::min(begin + chunk, length)), sequences, walk.has_workspace, walk.order_seed);
  }
}

// Every sequence alone, each in a world of its own.
std::vector<Sequence> Walked(const Heads& heads, std::initializer_list<int64_t> lengths, const Walk& walk) {
  std::vector<Sequence> sequences = Sequences(heads, lengths);
  for (size_t slot = 0; slot < sequences.size(); ++slot) {
    KvWorld world(heads, static_cast<int>(sequences.size()), walk.order_seed);
    WalkAlone(walk, world, static_cast<int32_t>(slot), sequences);
  }
  return sequences;
}

void ExpectSameOutputs(const std::vector<Sequence>& a, const std::vector<Sequence>& b, const std::string& what) {
  for (size_t slot = 0; slot < a.size(); ++slot) EXPECT_TRUE(SameBits(a[slot].out, b[slot].out)) << what << ", slot " << slot;
}

// One query of one head over what the cache holds, in double.
std::vector<double> Reference(const Heads& h, const Sequence& s, int64_t position, int64_t head) {
  const int64_t d = h.head_dim, v_dim = h.value_dim(), kv_head = head / (h.heads / h.kv_heads), first = h.FirstVisible(position);
  std::vector<double> scores, out(static_cast<size_t>(v_dim), 0.0);
  double maximum = -INFINITY, sum = 0.0;
  for (int64_t p = first; p <= position; ++p) {
    const std::vector<double> keys = Stored(h.kv_dtype, s.k.row(p) + kv_head * d, d);
    double score = 0.0;
    for (int64_t i = 0; i < d; ++i) score += static_cast<double>(s.q.row(position)[head * d + i]) * keys[static_cast<size_t>(i)];
    score /= std::sqrt(static_cast<double>(d));
    scores.push_back(h.softcap == 0 ? score : h.softcap * std::tanh(score / h.softcap));
    maximum = std::max(maximum, scores.back());
  }
  for (double& score : scores) sum += score = std::exp(score - maximum);
  if (h.has_sinks) sum += std::exp(h.Sink(head) - maximum);
  for (int64_t p = first; p <= position; ++p) {
    const std::vector<double> values = Stored(h.kv_dtype, s.v.row(p) + kv_head * v_dim, v_dim);
    const double weight = scores[static_cast<size_t>(p - first)] / sum;
    for (int64_t i = 0; i < v_dim; ++i) out[static_cast<size_t>(i)] += weight * values[static_cast<size_t>(i)];
  }
  return out;
}

class AttentionShapes : public testing::TestWithParam<Heads> {};

TEST_P(AttentionShapes, MatchesDouble) {
  const Heads h = GetParam();
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  const std::vector<Sequence> sequences = Walked(h, {300}, {.isa = SupportedIsas().back()});
  double worst = 0.0;
  for (int64_t position : {0, 1, 15, 16, 63, 64, 65, 200, 255, 256, 257, 299}) {
    for (int64_t head = 0; head < h.heads; ++head) {
      const std::vector<double> expected = Reference(h, sequences[0], position, head);
      for (int64_t i = 0; i < h.value_dim(); ++i) {
        worst = std::max(worst, std::fabs(expected[static_cast<size_t>(i)] - sequences[0].out.row(position)[head * h.value_dim() + i]));
      }
    }
  }
  // Queries and weights are rounded to 15 bits where the cache is int8.
  EXPECT_LE(worst, h.kv_dtype == DType::kI8 ? 2e-4 : 3e-6);
}

TEST_P(AttentionShapes, GivesTheSameBitsAtEveryLevel) {
  const Heads h = GetParam();
  const std::vector<Sequence> expected = Walked(h, {270}, {.isa = Isa::kScalar});
  for (Isa isa : SupportedIsas()) ExpectSameOutputs(Walked(h, {270}, {.isa = isa, .order_seed = 2}), expected, std::string(Name(isa)));
}

TEST_P(AttentionShapes, GivesTheSameBitsForEveryChunkSize) {
  const Heads h = GetParam();
  for (Isa isa : SupportedIsas()) {
    if (isa == Isa::kScalar) continue;   // slow, and compared with these elsewhere
    const std::vector<Sequence> expected = Walked(h, {600}, {.isa = isa});
    for (int32_t chunk : {1, 3, 16, 64, 100}) {
      const Walk walk{.isa = isa, .chunk = chunk, .order_seed = static_cast<uint32_t>(chunk)};
      ExpectSameOutputs(Walked(h, {600}, walk), expected, testing::PrintToString(chunk) + " rows a step, " + std::string(Name(isa)));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionShapes,
                         testing::Values(Heads{2, 2, 16, 0}, Heads{4, 2, 24, 0}, Heads{8, 2, 64, 0}, Heads{8, 1, 64, 100}, Heads{4, 4, 80, 17},
                                         Heads{4, 1, 256, 0}, Heads{2, 1, 256, 300}, Heads{3, 1, 320, 0}, Heads{14, 2, 64, 0}, Heads{70, 1, 16, 64},
                                         Heads{.heads = 4, .kv_heads = 2, .head_dim = 24, .window = 0, .softcap = 1.5f},
                                         Heads{.heads = 2, .kv_heads = 1, .head_dim = 256, .window = 90, .softcap = 5},
                                         Heads{.heads = 8, .kv_heads = 2, .head_dim = 32, .window = 0, .has_sinks = true},
                                         Heads{.heads = 8, .kv_heads = 1, .head_dim = 64, .window = 128, .has_sinks = true},
                                         Heads{.heads = 4, .kv_heads = 2, .head_dim = 48, .window = 0, .chunk = 100},
                                         Heads{.heads = 5, .kv_heads = 1, .head_dim = 16, .window = 0, .chunk = 16},
                                         Heads{.heads = 4, .kv_heads = 1, .head_dim = 40, .window = 0, .v_dim = 32},
                                         Heads{.heads = 3, .kv_heads = 1, .head_dim = 70, .window = 0, .v_dim = 9},
                                         Heads{.heads = 2, .kv_heads = 1, .head_dim = 576, .window = 0, .v_dim = 512}),
                         [](const auto& info) { return NameOf(info.param); });

std::vector<Heads> OtherCaches() {
  std::vector<Heads> shapes;
  for (const Heads& h : {Heads{8, 2, 64, 0}, Heads{4, 4, 80, 17}, Heads{3, 1, 25, 0}, Heads{14, 2, 64, 100},
                         Heads{.heads = 4, .kv_heads = 2, .head_dim = 24, .window = 0, .softcap = 1.5f},
                         Heads{.heads = 8, .kv_heads = 2, .head_dim = 32, .window = 0, .has_sinks = true},
                         Heads{.heads = 4, .kv_heads = 2, .head_dim = 48, .window = 0, .chunk = 101},
                         Heads{.heads = 2, .kv_heads = 1, .head_dim = 576, .window = 0, .v_dim = 512}}) {
    for (DType dtype : {DType::kBF16, DType::kI8}) shapes.push_back(WithCache(h, dtype));
  }
  return shapes;
}
INSTANTIATE_TEST_SUITE_P(OtherCaches, AttentionShapes, testing::ValuesIn(OtherCaches()), [](const auto& info) { return NameOf(info.param); });

constexpr Heads kFull{8, 2, 64, 0}, kSliding{4, 2, 24, 70};
// One of each row of the dispatch table, but that of plain scores; and all of them over every type of cache.
constexpr Heads kKinds[]{{.heads = 4, .kv_heads = 2, .head_dim = 24, .window = 70, .softcap = 1.5f},
                         {.heads = 4, .kv_heads = 2, .head_dim = 24, .window = 70, .has_sinks = true},
                         {.heads = 4, .kv_heads = 2, .head_dim = 24, .window = 0, .chunk = 90},
                         {.heads = 4, .kv_heads = 1, .head_dim = 40, .window = 0, .v_dim = 32}};
std::vector<Heads> AllKinds() {
  std::vector<Heads> kinds{kFull, kSliding};
  kinds.insert(kinds.end(), std::begin(kKinds), std::end(kKinds));
  for (size_t i = 0; i < 2 + std::size(kKinds); ++i) {
    for (DType dtype : {DType::kBF16, DType::kI8}) kinds.push_back(WithCache(kinds[i], dtype));
  }
  return kinds;
}

TEST(AttentionTable, TheTestsRunEveryRow) {
  std::set<std::string_view> rows;
  std::vector<Heads> kinds = AllKinds();
  kinds.push_back({.heads = 4, .kv_heads = 2, .head_dim = 24, .window = 70, .both_ways = true});   // both_ways_test.cc
  for (const Heads& h : kinds) {
    const AttentionRow* row =
        FindAttentionRow({h.heads, h.kv_heads, h.head_dim, h.value_dim(), h.window, h.chunk, h.softcap, h.has_sinks, h.both_ways});
    ASSERT_NE(row, nullptr);
    rows.insert(row->name);
    EXPECT_NE(FindKernel(row->kernel, Isa::kScalar), nullptr);
    EXPECT_NE(PrintAttentionTable().find(std::string(row->name)), std::string::npos);
  }
  EXPECT_EQ(rows.size(), AttentionTable().size());
}

TEST(AttentionTable, RefusesWhatNoRowServes) {
  const AttentionShape plain{.heads = 4, .kv_heads = 2, .head_dim = 64, .v_dim = 64};
  EXPECT_NE(FindAttentionRow(plain), nullptr);
  const auto refuses = [&](void (*change)(AttentionShape&)) {
    AttentionShape shape = plain;
    change(shape);
    return FindAttentionRow(shape) == nullptr;
  };
  EXPECT_TRUE(refuses([](AttentionShape& s) { s.head_dim = s.v_dim = 513; }));
  EXPECT_TRUE(refuses([](AttentionShape& s) { s.v_dim = 32; }));                      // narrower values on two heads
  EXPECT_TRUE(refuses([](AttentionShape& s) { s.kv_heads = 1, s.v_dim = 80; }));
  EXPECT_TRUE(refuses([](AttentionShape& s) { s.kv_heads = 1, s.head_dim = 577; }));
  EXPECT_TRUE(refuses([](AttentionShape& s) { s.kv_heads = 1, s.v_dim = 32, s.window = 16; }));
  EXPECT_TRUE(refuses([](AttentionShape& s) { s.window = s.chunk = 16; }));
  EXPECT_TRUE(refuses([](AttentionShape& s) { s.softcap = 5, s.has_sinks = true; }));
  EXPECT_TRUE(refuses([](AttentionShape& s) { s.softcap = 5, s.chunk = 16; }));
  EXPECT_TRUE(refuses([](AttentionShape& s) { s.sees_both_ways = true, s.chunk = 16; }));
  EXPECT_TRUE(refuses([](AttentionShape& s) { s.sees_both_ways = true, s.softcap = 5; }));
}

TEST(Attention, IsTheSameWithAndWithoutAWorkspace) {
  for (const Heads& h : AllKinds()) {
    const std::vector<Sequence> expected = Walked(h, {700}, {.chunk = 5, .has_workspace = false});
    ExpectSameOutputs(Walked(h, {700}, {.chunk = 5, .has_workspace = true}), expected, "workspace");
  }
}

TEST(Attention, FewRowsShareALongContextByItsSpans) {
  const Kernel* kernel = FindKernel("attention", SupportedIsas().back());
  KvWorld world(kFull, 1, 1);
  world.Prepare({{0, 700}});
  const Matrix q(1, 512), out(1, 512), workspace(1, AttentionWorkspaceBytes(1, 8, 2, 64, 1024) / 4);
  KernelCall call = world.AttendCall(out, q);
  EXPECT_EQ(kernel->num_tasks(call, world.view(), 0), 2);   // one a key/value head
  EXPECT_EQ(kernel->num_tasks(call, world.view(), 1), 0);
  call.operands[3] = workspace.tensor();
  EXPECT_EQ(kernel->num_tasks(call, world.view(), 0), 2 * 3);   // positions 0-255, 256-511, 512-700
  EXPECT_EQ(kernel->num_tasks(call, world.view(), 1), 2);
}

TEST(Attention, IsTheSameAloneAndBesideOtherSequences) {
  for (const Heads& h : AllKinds()) {
    const std::vector<Sequence> expected = Walked(h, {40, 300, 7, 129}, {});
    for (Isa isa : SupportedIsas()) {
      std::vector<Sequence> sequences = Sequences(h, {40, 300, 7, 129});
      KvWorld world(h, 4, 99);
      // Prompts of several slots in one step, the rest of each as single rows of shared steps.
      std::vector<StepRow> first = Rows(2, 0, 3), rest = Rows(0, 0, 11);
      first.insert(first.end(), rest.begin(), rest.end());
      rest = Rows(1, 0, 280);
      first.insert(first.end(), rest.begin(), rest.end());
      world.Step(isa, first, sequences, true, kSeed);
      world.Step(isa, Rows(3, 0, 100), sequences, true, kSeed);
      for (int32_t i = 0; i < 29; ++i) {
        std::vector<StepRow> step{{3, 100 + i}, {0, 11 + i}};
        if (i < 4) step.push_back({2, 3 + i});
        if (i < 20) step.push_back({1, 280 + i});
        world.Step(isa, step, sequences, true, static_cast<uint32_t>(i + 1));
      }
      ExpectSameOutputs(sequences, expected, std::string(Name(isa)));
    }
  }
}

TEST(Attention, DoesNotSeeWhatAReusedBlockHeldBefore) {
  for (const Heads& h : AllKinds()) {
    const std::vector<Sequence> expected = Walked(h, {70, 150}, {.chunk = 40});
    std::vector<Sequence> sequences = Sequences(h, {70, 150});
    KvWorld world(h, 2, 4);
    // The former owner leaves values that would dominate every score, then values that would spread as NaN.
    for (const float value : {3e4f, std::numeric_limits<float>::quiet_NaN()}) {
      std::vector<Sequence> former = Sequences(h, {70, 900});
      std::fill_n(former[1].k.row(0), former[1].k.rows() * h.kv_heads * h.head_dim, value);
      std::fill_n(former[1].v.row(0), former[1].v.rows() * h.kv_heads * h.value_dim(), value);
      WalkAlone({.chunk = 64}, world, 1, former);
      world.Release(1);
    }
    for (int32_t slot : {0, 1}) WalkAlone({.chunk = 40}, world, slot, sequences);
    ExpectSameOutputs(sequences, expected, "reused blocks");
  }
}

// A speculation step writes rows that may be rejected: what they left behind, even NaN, must not reach the rows that replace them,
// nor any earlier row.
TEST(Attention, DoesNotSeeLaterPositionsOfItsOwnSlot) {
  for (const Heads& h : AllKinds()) {
    const std::vector<Sequence> expected = Walked(h, {150}, {.chunk = 3});
    for (const float value : {-0.0f, 1e30f, std::numeric_limits<float>::quiet_NaN()}) {
      std::vector<Sequence> sequences = Sequences(h, {150}), wrong = Sequences(h, {150});
      KvWorld world(h, 1, 1);
      for (int64_t p = 3; p < 150; ++p) {
        std::fill_n(wrong[0].k.row(p), h.kv_heads * h.head_dim, value);
        std::fill_n(wrong[0].v.row(p), h.kv_heads * h.value_dim(), value);
      }
      for (int64_t p = 0; p < 147; p += 3) {
        world.Step(SupportedIsas().back(), Rows(0, p, p + 3), sequences, true, 1);
        world.Step(SupportedIsas().back(), Rows(0, p + 3, p + 6), wrong, true, 1);   // rejected
      }
      world.Step(SupportedIsas().back(), Rows(0, 147, 150), sequences, true, 1);
      ExpectSameOutputs(sequences, expected, "value " + std::to_string(value));
    }
  }
}

TEST(Attention, CheckRefusesWhatDoesNotFit) {
  const Kernel* kernel = FindKernel("attention", Isa::kScalar);
  const Heads h = kSliding;
  const KvWorld world(h, 1, kSeed);
  const Matrix q(3, 96), out(3, 96), narrow(3, 48), fewer(2, 96);
  const KernelCall good = world.AttendCall(out, q);
  EXPECT_EQ(kernel->check(good), nullptr);
  EXPECT_NE(kernel->check(world.AttendCall(out, narrow)), nullptr);
  EXPECT_NE(kernel->check(world.AttendCall(fewer, q)), nullptr);
  const auto with = [&good](int index, int64_t value) {
    KernelCall call = good;
    call.params.ints[static_cast<size_t>(index)] = value;
    return call;
  };
  EXPECT_NE(kernel->check(with(attention_params::kHeads, 3)), nullptr);
  EXPECT_NE(kernel->check(with(attention_params::kHeads, INT64_MAX)), nullptr);
  EXPECT_NE(kernel->check(with(attention_params::kKvHeads, 3)), nullptr);
  EXPECT_NE(kernel->check(with(attention_params::kHeadDim, 1024)), nullptr);
  EXPECT_NE(kernel->check(with(attention_params::kHeadDim, 0)), nullptr);
  EXPECT_NE(kernel->check(with(attention_params::kWindow, -1)), nullptr);
  EXPECT_NE(kernel->check(with(attention_params::kChunk, -1)), nullptr);
  EXPECT_NE(kernel->check(with(attention_params::kChunk, 16)), nullptr);   // beside the window
  EXPECT_NE(kernel->check(with(attention_params::kBothWays, 2)), nullptr);
  EXPECT_NE(kernel->check(with(attention_params::kVDim, 23)), nullptr);
  EXPECT_NE(kernel->check(with(attention_params::kVDim, -1)), nullptr);
  KernelCall call = good;
  call.operands[4] = Matrix(1, 5).tensor();   // sinks of five heads; only the shape is looked at
  EXPECT_NE(kernel->check(call), nullptr);
  call = good;
  call.params.floats[attention_params::kSoftcap] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NE(kernel->check(call), nullptr);
  EXPECT_NE(kernel->check(with(attention_params::kNumBlocks, 1 << 20)), nullptr);
  for (DType dtype : {DType::kF16, DType::kI8, DType::kQ8_0}) {
    call = good;
    call.operands[2].dtype = dtype;
    EXPECT_NE(kernel->check(call), nullptr) << dtype;
  }
}

TEST(Attention, AWorkspaceThatIsTooSmallIsNotUsed) {
  const std::vector<Sequence> expected = Walked(kFull, {600}, {});
  std::vector<Sequence> sequences = Sequences(kFull, {600});
  KvWorld world(kFull, 1, 1);
  world.Step(SupportedIsas().back(), Rows(0, 0, 599), sequences, false, 1);
  world.Step(SupportedIsas().back(), Rows(0, 599, 600), sequences, false, 1);   // writes the keys
  const Matrix q(1, 512), out(1, 512), workspace(1, 64);
  std::copy_n(sequences[0].q.row(599), 512, q.row(0));
  KernelCall call = world.AttendCall(out, q);
  call.operands[3] = workspace.tensor();
  RunKernel("attention", SupportedIsas().back(), call, world.view());
  EXPECT_EQ(std::memcmp(out.row(0), expected[0].out.row(599), 512 * 4), 0);
}

}  // namespace
}  // namespace intaglio::kernels
