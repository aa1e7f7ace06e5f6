#include "compiler/layout.h"

#include <algorithm>
#include <utility>

#include "base/fail.h"
#include "kernels/kv_layout.h"
#include "kernels/pack.h"

namespace intaglio::compiler {
namespace {

constexpr uint64_t kPageBytes = 4096;   // big weights start on a page, so that ranks and readahead work in whole ones
constexpr uint64_t kLineBytes = 64;
constexpr double kLargestPool = 1e15;  // bytes of one layer; sums over layers stay within 64 bits

uint64_t AlignUp(uint64_t value, uint64_t alignment) { return (value + alignment - 1) / alignment * alignment; }

PlacedWeight Place(const graph::Weight& weight, uint64_t& end) {
  const bool is_packed = weight.layout == graph::Layout::kMatmul || weight.layout == graph::Layout::kExperts;
  PlacedWeight placed{.weight = weight, .cols = weight.shape.back()};
  placed.matrices = weight.layout == graph::Layout::kExperts ? weight.shape[0] : 1;
  placed.matrix_rows = weight.shape.size() > 1 ? weight.shape[weight.shape.size() - 2] : 1;
  placed.rows = weight.layout == graph::Layout::kExperts
                    ? placed.matrices * static_cast<int64_t>(AlignUp(static_cast<uint64_t>(placed.matrix_rows), kernels::kLanes))
                    : placed.matrix_rows;
  placed.bytes = is_packed ? static_cast<uint64_t>(kernels::PackedBytes(placed.rows, placed.cols, weight.dtype))
                           : static_cast<uint64_t>(placed.rows) * static_cast<uint64_t>(placed.cols) * sizeof(float);
  placed.offset = AlignUp(end, placed.bytes >= kPageBytes ? kPageBytes : kLineBytes);
  end = placed.offset + placed.bytes;
  return placed;
}

// After the KV layers, in the same pool.
void PlaceStates(const graph::Graph& graph, const KvSizes& sizes, KvLayout& layout) {
  for (const graph::State& state : graph.states) {
    const int64_t entries = sizes.speculation + 1 + state.lookback;
    const double bytes = static_cast<double>(sizes.max_slots * entries) * static_cast<double>(bundle::StateStride(state.floats)) * sizeof(float);
    Require(bytes < kLargestPool, ErrorCode::kInvalidArgument, "export: the recurrent state of ", sizes.max_slots,
            " sequences needs more memory than any machine has; lower --max-batch");
    layout.states.push_back({.layer = state.layer,
                             .name = state.name,
                             .floats = state.floats,
                             .entries = entries,
                             .offset = layout.pool_bytes,
                             .bytes = static_cast<uint64_t>(bytes)});
    layout.pool_bytes += layout.states.back().bytes;
  }
}

}  // namespace

WeightLayout PlaceWeights(std::span<const graph::Graph> graphs) {
  WeightLayout layout;
  const auto place = [&](const graph::Graph& graph, graph::ValueId id) {
    const graph::Value& value = graph.value(id);
    if (value.source != graph::Source::kWeight) return;
    const graph::Weight& weight = graph.weights[static_cast<size_t>(value.index)];
    if (layout.index.emplace(weight.name, layout.weights.size()).second) layout.weights.push_back(Place(weight, layout.file_bytes));
  };
  for (const graph::Graph& graph : graphs) {
    for (const graph::Node& node : graph.nodes) {
      for (graph::ValueId input : node.inputs) place(graph, input);
    }
  }
  layout.file_bytes = AlignUp(layout.file_bytes, kPageBytes);
  return layout;
}

KvLayout PlaceKvCache(const graph::Graph& graph, const KvSizes& sizes, std::vector<bundle::KvGroup> groups) {
  KvLayout layout{.groups = std::move(groups), .layers = {}, .states = {}};
  const int64_t full_blocks = (sizes.max_context + kernels::kKvTile - 1) / kernels::kKvTile;
  for (const graph::KvCache& cache : graph.kv_caches) {
    auto group = std::ranges::find(layout.groups, cache.window, &bundle::KvGroup::window);
    if (group == layout.groups.end()) {
      // A step's first query still sees window - 1 positions before it; they may begin anywhere within a block.
      const int64_t reach = cache.window - 1 + sizes.largest_step;
      const int64_t blocks = cache.window == 0 ? full_blocks : std::min(full_blocks, (reach + kernels::kKvTile - 1) / kernels::kKvTile + 1);
      group = layout.groups.insert(layout.groups.end(), {.window = cache.window, .blocks_per_slot = blocks});
    }
    const int64_t blocks = sizes.max_slots * group->blocks_per_slot,
                  block_bytes = kernels::KvBlockBytes(cache.kv_heads, {cache.head_dim, cache.value_dim(), sizes.kv_dtype});
    Require(static_cast<double>(blocks) * static_cast<double>(block_bytes) < kLargestPool, ErrorCode::kInvalidArgument, "export: a context of ",
            sizes.max_context, " tokens for ", sizes.max_slots,
            " sequences needs more KV cache than any machine has; lower --max-context or --max-batch");
    const auto bytes = static_cast<uint64_t>(blocks * block_bytes);
    layout.layers.push_back({.group = static_cast<int32_t>(group - layout.groups.begin()),
                             .kv_heads = cache.kv_heads,
                             .head_dim = cache.head_dim,
                             .v_dim = cache.v_dim,
                             .dtype = sizes.kv_dtype,
                             .offset = layout.pool_bytes,
                             .bytes = bytes});
    layout.pool_bytes += bytes;
  }
  PlaceStates(graph, sizes, layout);
  return layout;
}

}  // namespace intaglio::compiler
