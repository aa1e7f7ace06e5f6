#include "kv_harness.h"

namespace intaglio::kernels {
namespace {

constexpr uint32_t kSeed = 5;
constexpr Heads kHeads{.heads = 4, .kv_heads = 2, .head_dim = 24, .window = 0};

constexpr DType kTypes[]{DType::kF32, DType::kBF16, DType::kI8};

// The element at tile position p of a head of 24 that begins at `tile`, as the layout says; without the scale of int8.
template <typename T>
T KeyAt(const std::byte* tile, int64_t per_lane, int64_t p, int64_t d) {
  return reinterpret_cast<const T*>(tile)[p / 16 * 24 * 16 + d / per_lane * 16 * per_lane + p % 16 * per_lane + d % per_lane];
}
template <typename T>
T ValueAt(const std::byte* tile, int64_t per_lane, int64_t p, int64_t d) {
  return reinterpret_cast<const T*>(tile)[d / 16 * 64 * 16 + p / per_lane * 16 * per_lane + d % 16 * per_lane + p % per_lane];
}

// What the cache holds of a key and a value.
std::pair<double, double> ElementAt(const Heads& h, const std::byte* tile, int64_t p, int64_t d) {
  const std::byte* values = tile + KTileBytes(h.kv_shape());
  if (h.kv_dtype == DType::kF32) return {KeyAt<float>(tile, 1, p, d), ValueAt<float>(values, 1, p, d)};
  if (h.kv_dtype == DType::kBF16) return {Bf16ToF32(KeyAt<uint16_t>(tile, 2, p, d)), Bf16ToF32(ValueAt<uint16_t>(values, 2, p, d))};
  const auto* scales = reinterpret_cast<const float*>(values + VTileBytes(h.kv_shape()));
  return {double{scales[p]} * KeyAt<int8_t>(tile, 2, p, d), double{scales[64 + p]} * ValueAt<int8_t>(values, 2, p, d)};
}

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
  std::vector<StepRow> rows;
  AddRows(0, 0, 70, &rows);
  AddRows(1, 0, 130, &rows);
  for (DType dtype : kTypes) {
    for (Isa isa : SupportedIsas()) {
      const Heads h = WithCache(kHeads, dtype);
      KvWorld world(h, 2, kSeed);
      world.Step(isa, rows, sequences, false, kSeed);
      for (const auto [slot, position] : rows) {
        const auto* tile = reinterpret_cast<const std::byte*>(world.pool().row(world.block(slot, position / kKvTile)));
        const Sequence& s = sequences[static_cast<size_t>(slot)];
        for (int64_t head = 0; head < h.kv_heads; ++head, tile += KvHeadBytes(h.kv_shape())) {
          const std::vector<double> keys = Stored(dtype, s.k.row(position) + head * 24, 24),
                                    values = Stored(dtype, s.v.row(position) + head * 24, 24);
          for (int64_t d = 0; d < 24; ++d) {
            const auto [key, value] = ElementAt(h, tile, position % kKvTile, d);
            ASSERT_EQ(key, keys[static_cast<size_t>(d)]) << Name(isa) << ' ' << dtype;
            ASSERT_EQ(value, values[static_cast<size_t>(d)]) << Name(isa) << ' ' << dtype;
          }
        }
      }
    }
  }
}

TEST(KvWrite, WritesTheSameBytesAtEveryLevel) {
  std::vector<Sequence> sequences = Sequences({70});
  std::vector<StepRow> rows;
  AddRows(0, 0, 70, &rows);
  std::fill_n(sequences[0].k.row(3), 24, 0.0f);                                         // a head without a scale
  sequences[0].k.row(4)[5] = sequences[0].v.row(5)[30] = std::numeric_limits<float>::infinity();
  sequences[0].k.row(6)[7] = sequences[0].v.row(7)[7] = std::numeric_limits<float>::quiet_NaN();
  std::fill_n(sequences[0].v.row(8), 24, 1e-38f);
  for (DType dtype : kTypes) {
    KvWorld expected(WithCache(kHeads, dtype), 1, kSeed);
    expected.Step(Isa::kScalar, rows, sequences, false, kSeed);
    for (Isa isa : SupportedIsas()) {
      KvWorld world(WithCache(kHeads, dtype), 1, kSeed);
      world.Step(isa, rows, sequences, false, kSeed);
      EXPECT_TRUE(SameBits(world.pool(), expected.pool())) << Name(isa) << ' ' << dtype;
    }
  }
}

TEST(KvWrite, AFirstPositionClearsTheWholeBlock) {
  for (DType dtype : kTypes) {
    std::vector<Sequence> sequences = Sequences({2});
    const Heads h = WithCache(kHeads, dtype);
    KvWorld world(h, 1, kSeed), other(h, 1, kSeed);   // full of NaN
    std::fill_n(other.pool().row(0), other.pool().rows() * other.pool().cols(), 7.0f);
    for (KvWorld* w : {&world, &other}) w->Step(SupportedIsas().back(), {{0, 0}, {0, 1}}, sequences, false, kSeed);
    const float *block = world.pool().row(world.block(0, 0)), *same = other.pool().row(other.block(0, 0));
    EXPECT_EQ(std::memcmp(block, same, static_cast<size_t>(world.pool().cols()) * 4), 0) << dtype;
    EXPECT_EQ(ElementAt(h, reinterpret_cast<const std::byte*>(block), 2, 0), (std::pair{0.0, 0.0}));
  }
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
  KernelCall wider = good;
  wider.operands[0].dtype = DType::kI8;   // blocks as large as those of f32, in elements
  EXPECT_NE(kernel->check(wider), nullptr);
}

}  // namespace
}  // namespace intaglio::kernels
