// What an op of the oracle reads. For interpret*.cc alone.
#pragma once
#include <cstdint>
#include <span>

namespace intaglio::graph {

// One operand of a node, live rows only: its floats or its integers. Both are empty for a KV cache or a state.
struct Operand {
  std::span<const float> f32;
  std::span<const int32_t> i32;
  size_t cols = 0;   // last size of its shape
};

}  // namespace intaglio::graph
