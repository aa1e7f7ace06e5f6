// One step as bytes: what the process of rank 0 sends the others, so that all run the same plan on the same rows. A step's arrays follow
// each other in the order of StepView; block tables as far as the sequences of the step reach; histories only where a row's penalties need them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bundle/bundle.h"
#include "kernels/kernel.h"

namespace intaglio::runtime {

// Appends the step to `out`. `num_groups` of KV layers.
void EncodeStep(const kernels::StepView& view, size_t num_groups, std::vector<std::byte>& out);

// Where a received step lies, with tables that stay from step to step. Sized once, for any step of a bundle.
class ReceivedStep {
 public:
  explicit ReceivedStep(const bundle::Bundle& bundle);   // which outlives it

  // Throws Error kDataLoss for bytes that are no step of `plan`, or that would lead a kernel out of its memory. The view is valid until the next call.
  [[nodiscard]] kernels::StepView Decode(std::span<const std::byte> bytes, const bundle::Plan& plan);

 private:
  class Reader;
  void DecodeTables(Reader& in, int32_t num_rows);

  const bundle::Manifest& manifest_;
  int32_t blocks_per_slot_;
  std::vector<int32_t> tokens_, positions_, slots_, lengths_, rope_rows_;  // [most rows]
  std::vector<int32_t> output_rows_;  // [most outputs]
  std::vector<kernels::SamplingRow> sampling_;
  std::vector<std::vector<int32_t>> histories_;  // [most outputs]
  std::vector<std::vector<int32_t>> tables_;  // [groups][max_slots * blocks_per_slot]
  std::vector<const int32_t*> table_pointers_;
  std::vector<int32_t> max_blocks_;
};

}  // namespace intaglio::runtime
