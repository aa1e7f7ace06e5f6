#include "compiler/weight_packer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "tests/base/temporary_folder.h"
#include "tests/compiler/made_up_checkpoint.h"

namespace intaglio::compiler {
namespace {

using graph::Layout;
using graph::Weight;

Weight StackOf(const MadeUpCheckpoint& checkpoint, std::vector<std::string> names, Layout layout, float add = 0) {
  Weight weight{.name = names.front(), .shape = {}, .layout = layout, .sources = {}, .add = add, .constant = nullptr};
  for (const std::string& name : names) {
    weight.sources.push_back({.name = name, .shape = checkpoint.shape(name)});
    if (weight.shape.empty()) {
      weight.shape = checkpoint.shape(name);
    } else {
      weight.shape[0] += checkpoint.shape(name)[0];
    }
  }
  return weight;
}

// A graph in which one node reads all weights.
graph::Graph GraphOf(std::vector<Weight> weights) {
  graph::Graph graph;
  graph::Node& node = graph.nodes.emplace_back();
  for (Weight& weight : weights) {
    node.inputs.push_back(static_cast<graph::ValueId>(graph.values.size()));
    graph.values.push_back(
        {.source = graph::Source::kWeight, .shape = weight.shape, .index = static_cast<int32_t>(graph.weights.size()), .label = {}});
    graph.weights.push_back(std::move(weight));
  }
  return graph;
}

struct Packed {
  WeightLayout layout;
  std::string file;
  std::vector<uint64_t> progress;

  template <typename T>
  [[nodiscard]] T At(const std::string& name, int64_t element) const {
    T value;
    std::memcpy(&value, file.data() + layout.weights[layout.index.at(name)].offset + static_cast<uint64_t>(element) * sizeof(T), sizeof value);
    return value;
  }
  // Element (row, k) of a packed matrix, as kernels/pack.h lays it out.
  [[nodiscard]] float F32(const std::string& name, int64_t row, int64_t k) const {
    const int64_t cols = layout.weights[layout.index.at(name)].cols;
    return At<float>(name, (row / 16 * cols + k) * 16 + row % 16);
  }
  [[nodiscard]] float Bf16(const std::string& name, int64_t row, int64_t k) const {
    const int64_t pairs = (layout.weights[layout.index.at(name)].cols + 1) / 2;
    return Bf16ToF32(At<uint16_t>(name, ((row / 16 * pairs + k / 2) * 16 + row % 16) * 2 + k % 2));
  }
};

Packed Pack(const MadeUpCheckpoint& checkpoint, std::vector<Weight> weights, DType dtype = DType::kF32) {
  const TemporaryFolder folder;
  for (Weight& weight : weights) {
    if (weight.layout == Layout::kMatmul || weight.layout == Layout::kExperts) weight.dtype = dtype;
  }
  const graph::Graph graph = GraphOf(weights);
  Packed packed{.layout = PlaceWeights({&graph, 1}), .file = {}, .progress = {}};
  ThreadPool pool(2);
  OutputFile file(folder.path() / "weights");
  const auto on_progress = [&](uint64_t done) { packed.progress.push_back(done); };
  PackWeights(packed.layout, {.checkpoint = checkpoint, .pool = pool, .on_progress = on_progress}, file);
  file.Commit();
  packed.file = ReadFile(folder.path() / "weights");
  return packed;
}

TEST(PackWeights, LaysMatmulWeightsOutInBlocksOf16Rows) {
  const MadeUpCheckpoint checkpoint({{"w", {.shape = {20, 5}}}});
  const Packed packed = Pack(checkpoint, {StackOf(checkpoint, {"w"}, Layout::kMatmul)});
  for (int64_t row = 0; row < 32; ++row) {
    for (int64_t k = 0; k < 5; ++k) EXPECT_EQ(packed.F32("w", row, k), row < 20 ? static_cast<float>(row * 5 + k) : 0.0f) << row << ", " << k;
  }
}

TEST(PackWeights, StacksSourcesThatBeginWithinABlock) {
  const MadeUpCheckpoint checkpoint({{"q", {.shape = {20, 3}}}, {"k", {.shape = {7, 3}, .seed = 1000}}, {"v", {.shape = {9, 3}, .seed = 2000}}});
  const Packed packed = Pack(checkpoint, {StackOf(checkpoint, {"q", "k", "v"}, Layout::kMatmul)});
  EXPECT_EQ(packed.F32("q", 19, 2), 59.0f);
  EXPECT_EQ(packed.F32("q", 20, 0), 1000.0f);
  EXPECT_EQ(packed.F32("q", 26, 2), 1020.0f);
  EXPECT_EQ(packed.F32("q", 27, 0), 2000.0f);
  EXPECT_EQ(packed.F32("q", 35, 2), 2026.0f);
}

TEST(PackWeights, NarrowsToBf16AndPairsK) {
  const MadeUpCheckpoint checkpoint({{"w", {.shape = {17, 5}, .seed = 300}}});
  const Packed packed = Pack(checkpoint, {StackOf(checkpoint, {"w"}, Layout::kMatmul)}, DType::kBF16);
  for (int64_t row = 0; row < 17; ++row) {
    for (int64_t k = 0; k < 5; ++k) {
      EXPECT_EQ(packed.Bf16("w", row, k), Bf16ToF32(F32ToBf16(300.0f + static_cast<float>(row * 5 + k)))) << row << ", " << k;
    }
    EXPECT_EQ(packed.Bf16("w", row, 5), 0.0f);   // what pairs the odd last k
  }
}

TEST(PackWeights, Bf16CheckpointsGiveTheSameBytesWithoutAndWithConversion) {
  const MadeUpCheckpoint stored({{"w", {.shape = {40, 6}, .is_bf16 = true}}}), widened({{"w", {.shape = {40, 6}}}});
  EXPECT_EQ(Pack(stored, {StackOf(stored, {"w"}, Layout::kMatmul)}, DType::kBF16).file,
            Pack(widened, {StackOf(widened, {"w"}, Layout::kMatmul)}, DType::kBF16).file);
}

TEST(PackWeights, KeepsVectorsF32AndAddsToEachElement) {
  const MadeUpCheckpoint checkpoint({{"a", {.shape = {3}, .seed = 0.125f}}, {"b", {.shape = {2}, .seed = 10}}});
  const Packed packed = Pack(checkpoint, {StackOf(checkpoint, {"a", "b"}, Layout::kVector, /*add=*/1.0f)}, DType::kBF16);
  for (const auto& [i, expected] : std::map<int64_t, float>{{0, 1.125f}, {1, 2.125f}, {2, 3.125f}, {3, 11.0f}, {4, 12.0f}}) {
    EXPECT_EQ(packed.At<float>("a", i), expected) << i;
  }
}

TEST(PackWeights, WritesComputedTablesAsTheyAre) {
  const MadeUpCheckpoint checkpoint({});
  Weight table{.name = "rope", .shape = {2, 2}, .layout = Layout::kTable, .sources = {}, .add = 0, .constant = nullptr};
  table.constant = std::make_shared<const std::vector<float>>(std::vector<float>{1, -0.0f, 3, 4});
  const Packed packed = Pack(checkpoint, {table}, DType::kBF16);
  EXPECT_EQ(packed.At<uint32_t>("rope", 1), 0x80000000u);
  EXPECT_EQ(packed.At<float>("rope", 3), 4.0f);
}

// Larger than a task and a wave of tasks, so that threads share it and progress is reported within.
TEST(PackWeights, SharesALargeWeightOverThreads) {
  const MadeUpCheckpoint checkpoint({{"w", {.shape = {70000, 256}}}, {"last", {.shape = {1}, .seed = 5}}});
  const Packed packed = Pack(checkpoint, {StackOf(checkpoint, {"w"}, Layout::kMatmul), StackOf(checkpoint, {"last"}, Layout::kVector)});
  for (int64_t row = 0; row < 70000; row += 1237) EXPECT_EQ(packed.F32("w", row, 255), static_cast<float>(row * 256 + 255)) << row;
  EXPECT_EQ(packed.At<float>("last", 0), 5.0f);
  EXPECT_GE(packed.progress.size(), 3u);
  EXPECT_TRUE(std::ranges::is_sorted(packed.progress));
  EXPECT_EQ(packed.file.size(), packed.layout.file_bytes);
}

TEST(PackWeights, AFaultInAnyThreadIsReported) {
  const MadeUpCheckpoint checkpoint({{"broken", {.shape = {7000, 256}}}});
  const std::string message = MessageOf(ErrorCode::kIo, [&] { (void)Pack(checkpoint, {StackOf(checkpoint, {"broken"}, Layout::kMatmul)}); });
  EXPECT_EQ(message, "the disk is gone");
}

TEST(CheckSources, NamesBothShapes) {
  const MadeUpCheckpoint checkpoint({{"w", {.shape = {20, 5}}}});
  Weight weight = StackOf(checkpoint, {"w"}, Layout::kMatmul);
  weight.sources[0].shape = {24, 5};
  const std::string message = MessageOf(ErrorCode::kDataLoss, [&] { CheckSources(GraphOf({weight}), checkpoint); });
  EXPECT_EQ(message, "export: w is [20, 5] in the checkpoint, but config.json implies [24, 5]; is config.json from another revision?");
}

}  // namespace
}  // namespace intaglio::compiler
