#include "kv_harness.h"

namespace intaglio::kernels {
namespace {

constexpr uint32_t kSeed = 5;
constexpr Heads kHeads{.heads = 4, .kv_heads = 2, .head_dim = 24, .window = 0};

std::vector<Sequence> Sequences(std::initializer_list<int64_t> lengths) {
  std::mt19937 random(kSeed);
  std::vector<Sequence> sequences;
  for (int64_t length : lengths) sequences.emplace_back(kHeads, length, random);
  return sequences;
}

void AddRows(int32_t slot, int32_t begin, int32_t end, std::vector<StepRow>* rows) {
  for (int32_t position = begin; position < end; ++position) rows->push_back({slot, position});
}

TEST(KvWrite, PutsEveryPositionWhereTheLayoutSays) {
  std::vector<Sequence> sequences = Sequences({70, 130});
  for (Isa isa : SupportedIsas()) {
    KvWorld world(kHeads, 2, kSeed);
    std::vector<StepRow> rows;
    AddRows(0, 0, 70, &rows);
    AddRows(1, 0, 130, &rows);
    world.Step(isa, rows, sequences, false, kSeed);
    for (const auto [slot, position] : rows) {
      const float* tile = world.pool().row(world.block(slot, position / kKvTile));
      const Sequence& s = sequences[static_cast<size_t>(slot)];
      const int64_t p = position % kKvTile;
      for (int64_t head = 0; head < kHeads.kv_heads; ++head, tile += KvHeadFloats(24, 24)) {
        for (int64_t d = 0; d < 24; ++d) {
          ASSERT_EQ(tile[p / 16 * 24 * 16 + d * 16 + p % 16], s.k.row(position)[head * 24 + d]) << Name(isa);
          ASSERT_EQ(tile[KTileFloats(24) + d / 16 * 64 * 16 + p * 16 + d % 16], s.v.row(position)[head * 24 + d]) << Name(isa);
        }
      }
    }
  }
}

TEST(KvWrite, AFirstPositionClearsTheWholeBlock) {
  std::vector<Sequence> sequences = Sequences({2});
  KvWorld world(kHeads, 1, kSeed);   // full of NaN
  world.Step(SupportedIsas().back(), {{0, 0}, {0, 1}}, sequences, false, kSeed);
  const float* tile = world.pool().row(world.block(0, 0));
  for (int64_t i = 0; i < world.pool().cols(); ++i) ASSERT_FALSE(std::isnan(tile[i])) << i;
  EXPECT_EQ(tile[2], 0.0f);   // key of position 2
}

TEST(KvWrite, LeavesOtherBlocksAndEarlierPositionsAlone) {
  std::vector<Sequence> sequences = Sequences({70});
  KvWorld world(kHeads, 1, kSeed);
  std::vector<StepRow> prompt;
  AddRows(0, 0, 66, &prompt);
  world.Step(SupportedIsas().back(), prompt, sequences, false, kSeed);
  const Matrix before(world.pool().rows(), world.pool().cols());
  std::copy_n(world.pool().row(0), before.rows() * before.cols(), before.row(0));
  world.Step(SupportedIsas().back(), {{0, 66}}, sequences, false, kSeed);
  int64_t changed = 0;
  for (int64_t i = 0; i < before.rows() * before.cols(); ++i) changed += std::memcmp(before.row(0) + i, world.pool().row(0) + i, 4) != 0;
  EXPECT_EQ(changed, 2 * kHeads.kv_heads * kHeads.head_dim);
}

TEST(KvWrite, SkipsBlocksThatDoNotExist) {
  std::vector<Sequence> sequences = Sequences({1});
  for (int32_t block : {-1, 1 << 20}) {
    KvWorld world(kHeads, 1, kSeed);
    world.Prepare({{0, 0}});
    StepView view = world.view();
    const std::vector<int32_t> table(KvWorld::kMaxBlocks, block);
    const int32_t* tables[] = {table.data()};
    view.block_tables = tables;
    RunKernel("kv_write", SupportedIsas().back(), world.WriteCall(sequences[0].k, sequences[0].v), view);
    EXPECT_TRUE(std::isnan(world.pool().row(0)[0]));
  }
}

TEST(KvWrite, CheckRefusesWhatDoesNotFit) {
  const Kernel* kernel = FindKernel("kv_write", Isa::kScalar);
  const KvWorld world(kHeads, 1, kSeed);
  const Matrix k(3, 48), v(3, 48), narrow(3, 24), fewer(2, 48);
  const KernelCall good = world.WriteCall(k, v);
  EXPECT_EQ(kernel->check(good), nullptr);
  EXPECT_NE(kernel->check(world.WriteCall(k, narrow)), nullptr);
  EXPECT_NE(kernel->check(world.WriteCall(k, fewer)), nullptr);
  const auto with = [&good](int index, int64_t value) {
    KernelCall call = good;
    call.params.ints[static_cast<size_t>(index)] = value;
    return call;
  };
  EXPECT_NE(kernel->check(with(attention_params::kNumBlocks, 1000)), nullptr);
  EXPECT_NE(kernel->check(with(attention_params::kKvHeads, 0)), nullptr);
  EXPECT_NE(kernel->check(with(attention_params::kHeadDim, INT64_MAX)), nullptr);
  EXPECT_NE(kernel->check(with(attention_params::kGroup, -1)), nullptr);
  EXPECT_NE(kernel->check(with(kDomain, 1)), nullptr);
}

}  // namespace
}  // namespace intaglio::kernels
