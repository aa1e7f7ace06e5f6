// Rotary position embedding. Cosines and sines are computed once, at export, by Transformers' own f32 arithmetic
// (modeling_rope_utils.py), and live in the bundle. Where they follow a sequence's length (dynamic), the frequencies do, and op Rotary turns
// them into cosines and sines, for all layers of a step.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "graph/builder.h"

namespace intaglio::layers {

enum class RopeScaling : uint8_t { kNone, kLinear, kLlama3, kYarn, kLongRope, kDynamic };

struct RopeSpec {
  RopeScaling scaling = RopeScaling::kNone;
  int64_t rotary_dim = 0;                                  // even
  double theta = 10000.0;
  double factor = 1.0;                                     // linear, llama3, yarn, dynamic
  double low_freq_factor = 1.0, high_freq_factor = 4.0;    // llama3
  int64_t original_max_position = 0;                       // llama3, yarn, longrope, dynamic
  double beta_fast = 32, beta_slow = 1;                    // yarn: the turns within the original context between which it interpolates
  bool truncate = true;                                    // yarn: the columns of those are rounded outwards
  double attention_factor = 1.0;                           // yarn, longrope: multiplies cosines and sines
  std::vector<float> short_factors{}, long_factors{};      // longrope: [rotary_dim / 2], for sequences up to the original length and longer
};

enum class SequenceLength : uint8_t { kShort, kLong };

// Radians per position of each pair of columns: [rotary_dim / 2]. Only longrope looks at the sequence's length.
[[nodiscard]] std::vector<float> InverseFrequencies(const RopeSpec& spec, SequenceLength length = SequenceLength::kShort);
// How many positions a sequence may have before it is rotated by other frequencies; 0 if none of up to `max_context` positions ever is.
[[nodiscard]] int64_t RopeSwitch(const RopeSpec& spec, int64_t max_context);
// [RopeSwitch + max_context, rotary_dim]: the rows of short sequences, then those of long ones. Per position rotary_dim / 2 cosines, then
// as many sines.
[[nodiscard]] std::vector<float> RopeTableData(const RopeSpec& spec, int64_t max_context);

// dynamic: [lengths, rotary_dim / 2], the frequencies of sequences of up to original_max_position tokens, then of each length above it up
// to max_context.
[[nodiscard]] std::vector<float> FrequenciesByLength(const RopeSpec& spec, int64_t max_context);

// The table of one spec, computed on first use and shared by every graph built with the same max_context. Safe from several threads.
class RopeTable {
 public:
  explicit RopeTable(RopeSpec spec) : spec_(std::move(spec)) {}
  [[nodiscard]] const RopeSpec& spec() const { return spec_; }
  // Its name in a graph: equal for equal specs, so that layers share one weight.
  [[nodiscard]] std::string name() const;
  // RopeTableData, or FrequenciesByLength where rotations follow the length.   REQUIRES: max_context >= 1
  [[nodiscard]] std::shared_ptr<const std::vector<float>> Data(int64_t max_context) const;

 private:
  const RopeSpec spec_;
  mutable std::mutex mutex_;
  mutable std::map<int64_t, std::shared_ptr<const std::vector<float>>> data_;   // by max_context
};

// Rotates the first rotary_dim columns of every head; a pair is (i, i + rotary_dim / 2), or (2i, 2i + 1).
[[nodiscard]] graph::ValueRef Rope(const graph::Builder& b, graph::ValueRef x, int64_t head_dim, const RopeTable& table,
                                   graph::RopeStyle style = graph::RopeStyle::kHalves);

}  // namespace intaglio::layers
