// Where plans are computed. A device holds what a bundle's plans work on (weights, KV cache, arena) and runs one plan on one step's rows.
// A new device is one class behind this header. One thread at a time may use it.
#pragma once
#include <cstddef>
#include <memory>
#include <span>

#include "bundle/bundle.h"
#include "kernels/isa.h"
#include "kernels/kernel.h"

namespace intaglio::runtime {

class Device {
 public:
  virtual ~Device() = default;
  // Computes plan number `plan` of the bundle. Allocates nothing. REQUIRES: `view` fits the plan's rows and outputs
  virtual void Run(size_t plan, const kernels::StepView& view) noexcept = 0;
  // An operand as the last Run left it, readable by the host until the next Run.
  [[nodiscard]] virtual std::span<const std::byte> Read(const bundle::Operand& operand) const = 0;
  // Rows of `operand` for the next Run, dense [rows, operand.cols]: what a plan that begins with an activation reads.
  // REQUIRES: f32 in the arena, values fit its rows
  virtual void Write(const bundle::Operand& operand, std::span<const float> values) = 0;
  [[nodiscard]] virtual int num_threads() const noexcept = 0;
};

}  // namespace intaglio::runtime
