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
  [[nodiscard]] virtual int num_threads() const noexcept = 0;
};

}  // namespace intaglio::runtime
