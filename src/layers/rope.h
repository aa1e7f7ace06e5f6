// Rotary position embedding. Cosines and sines are computed once, at export, by Transformers' own f32 arithmetic
// (modeling_rope_utils.py), and live in the bundle: no graph calls a trigonometric function.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "graph/builder.h"

namespace intaglio::layers {

enum class RopeScaling : uint8_t { kNone, kLinear, kLlama3 };

struct RopeSpec {
  RopeScaling scaling = RopeScaling::kNone;
  int64_t rotary_dim = 0;                                  // even
  double theta = 10000.0;
  double factor = 1.0;                                     // linear, llama3
  double low_freq_factor = 1.0, high_freq_factor = 4.0;    // llama3
  int64_t original_max_position = 0;                       // llama3
};

// Radians per position of each pair of columns: [rotary_dim / 2].
[[nodiscard]] std::vector<float> InverseFrequencies(const RopeSpec& spec);
// [max_context, rotary_dim]: per position rotary_dim / 2 cosines, then as many sines.
[[nodiscard]] std::vector<float> RopeTableData(const RopeSpec& spec, int64_t max_context);

// The table of one spec, computed on first use and shared by every graph built with the same max_context. Safe from several threads.
class RopeTable {
 public:
  explicit RopeTable(RopeSpec spec) : spec_(spec) {}
  [[nodiscard]] const RopeSpec& spec() const { return spec_; }
  // Its name in a graph: equal for equal specs, so that layers share one weight.
  [[nodiscard]] std::string name() const;
  // REQUIRES: max_context >= 1
  [[nodiscard]] std::shared_ptr<const std::vector<float>> Data(int64_t max_context) const;

 private:
  const RopeSpec spec_;
  mutable std::mutex mutex_;
  mutable std::map<int64_t, std::shared_ptr<const std::vector<float>>> data_;   // by max_context
};

// Rotates the first rotary_dim columns of every head, each pair being (i, i + rotary_dim / 2).
[[nodiscard]] graph::ValueRef Rope(const graph::Builder& b, graph::ValueRef x, int64_t head_dim, const RopeTable& table);

}  // namespace intaglio::layers
