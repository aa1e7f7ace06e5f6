// Where plans are computed. A device holds what a bundle's plans work on (weights, KV cache, arena) and runs one plan on one step's rows.
// A new device is one class behind this header. One thread at a time may use it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "bundle/bundle.h"
#include "kernels/isa.h"
#include "kernels/kernel.h"

namespace intaglio::runtime {

class Device {
 public:
  virtual ~Device() = default;
  // Computes plan number `plan` of the bundle. Allocates nothing. Throws only where ranks share a model, and then the group's Error: no
  // further step is possible. REQUIRES: `view` fits the plan's rows and outputs
  virtual void Run(size_t plan, const kernels::StepView& view) = 0;
  // An operand as the last Run left it on this device (of several ranks: rank 0's), readable by the host until the next Run.
  [[nodiscard]] virtual std::span<const std::byte> Read(const bundle::Operand& operand) const = 0;
  // Row `output` of what plan number `plan`, the last that ran, computed in the end: logits of the whole vocabulary, or an embedding.
  // Readable until the next Run. Where ranks share the vocabulary, they are brought together here: nobody pays who does not ask.
  [[nodiscard]] virtual std::span<const float> Result(size_t plan, int32_t output) = 0;
  // Rows of `operand` for the next Run, dense [rows, operand.cols]: what a plan that begins with an activation reads.
  // REQUIRES: f32 in the arena, values fit its rows
  virtual void Write(const bundle::Operand& operand, std::span<const float> values) = 0;
  [[nodiscard]] virtual int num_threads() const noexcept = 0;   // of one rank
};

}  // namespace intaglio::runtime
