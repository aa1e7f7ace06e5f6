#include "runtime/probe.h"

#include <bit>
#include <cstring>

namespace intaglio::runtime {

std::optional<Engine::ProbeValue> ReadProbe(const Device& device, const bundle::Plan& plan, const bundle::Operand& operand,
                                            const kernels::StepView& view) {
  if (operand.space != bundle::Space::kArena || (operand.dtype != DType::kF32 && operand.dtype != DType::kI32)) return std::nullopt;
  // Values before the rows are gathered follow the step's rows, those after it its outputs.
  const int64_t rows = operand.rows >= plan.rows ? view.num_rows : view.num_outputs;
  const std::span<const std::byte> bytes = device.Read(operand);
  const auto row_bytes = static_cast<size_t>(operand.cols) * sizeof(float), stride_bytes = static_cast<size_t>(operand.stride) * sizeof(float);
  if (operand.rows < rows || operand.stride < operand.cols || (rows > 0 && static_cast<size_t>(rows - 1) * stride_bytes + row_bytes > bytes.size()))
    return std::nullopt;
  Engine::ProbeValue value{.rows = rows, .cols = operand.cols, .values = std::vector<float>(static_cast<size_t>(rows * operand.cols))};
  for (int64_t row = 0; row < rows; ++row) {
    std::memcpy(value.values.data() + row * operand.cols, bytes.data() + static_cast<size_t>(row) * stride_bytes, row_bytes);
  }
  if (operand.dtype == DType::kI32) {
    for (float& element : value.values) element = static_cast<float>(std::bit_cast<int32_t>(element));
  }
  return value;
}

}  // namespace intaglio::runtime
