// Rows of the embedding table, which is packed like a matmul weight, so that a tied table is stored once: an element of a row is one lane
// of a line of 64 bytes. Sixteen times the bytes of a row are touched, a few microseconds.
#include <algorithm>

#include "kernels/isa/simd.h"
#include "kernels/pack.h"
#include "kernels/params.h"
#include "kernels/quant_format.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

constexpr int64_t kLineBytes = kLanes * sizeof(float);

// The token's lane in the first line of its block; null for an id that the table does not have.
const std::byte* LaneOf(const KernelCall& call, const StepView& step, int64_t row) {
  const Tensor& table = call[1];
  const int64_t token = step.tokens[row] - call.params.ints[embed_params::kFirstId];
  if (token < 0 || token >= table.rows) return nullptr;
  return table.data + token / kLanes * PackedBlockBytes(table.cols, table.dtype) + token % kLanes * static_cast<int64_t>(sizeof(float));
}

void FillMinusZero(const KernelCall& call, int64_t row) { std::fill_n(call[0].f32(row), call[0].cols, -0.0f); }

}  // namespace

void EmbedF32(const KernelCall& call, const StepView& step, int, int64_t row, std::byte*) noexcept {
  const std::byte* lane = LaneOf(call, step, row);
  if (lane == nullptr) return FillMinusZero(call, row);
  const float scale = call.params.floats[embed_params::kScale];
  float* out = call[0].f32(row);
  for (int64_t k = 0; k < call[0].cols; ++k) {
    float value = 0.0f;
    std::memcpy(&value, lane + k * kLineBytes, sizeof value);
    out[k] = value * scale;
  }
}

void EmbedBf16(const KernelCall& call, const StepView& step, int, int64_t row, std::byte*) noexcept {
  const std::byte* lane = LaneOf(call, step, row);
  if (lane == nullptr) return FillMinusZero(call, row);
  const float scale = call.params.floats[embed_params::kScale];
  float* out = call[0].f32(row);
  for (int64_t k = 0; k < call[0].cols; ++k) {
    uint16_t bits = 0;
    std::memcpy(&bits, lane + k / 2 * kLineBytes + k % 2 * static_cast<int64_t>(sizeof bits), sizeof bits);
    out[k] = Bf16ToF32(bits) * scale;
  }
}

void EmbedQ(const KernelCall& call, const StepView& step, int, int64_t row, std::byte*) noexcept {
  const Tensor& table = call[1];
  const int64_t token = step.tokens[row] - call.params.ints[embed_params::kFirstId];
  if (token < 0 || token >= table.rows) return FillMinusZero(call, row);
  const std::byte* block = table.data + token / kLanes * PackedBlockBytes(table.cols, table.dtype);
  const float scale = call.params.floats[embed_params::kScale];
  float* out = call[0].f32(row);
  for (int64_t k = 0; k < call[0].cols; ++k) out[k] = UnpackQuantized(table.dtype, block, token % kLanes, k) * scale;
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
