// Rows of the vocabulary out of the matmul layout: element k of a token lies in lane token % 16 of row k of its block. Sixteen times the
// bytes of a plain table are touched, a few microseconds a row, and a tied table is stored once.
#include "kernels/isa/simd.h"
#include "kernels/pack.h"
#include "kernels/params.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

template <typename LoadElement>
void Embed(const KernelCall& call, const StepView& step, int64_t row, const LoadElement& load) {
  const Tensor &out = call[0], &table = call[1];
  const int64_t token = step.tokens[row];
  const float scale = call.params.floats[embed_params::kScale];
  const std::byte* block = table.data + token / kLanes * PackedBlockBytes(table.cols, table.dtype);
  float* y = out.f32(row);
  for (int64_t k = 0; k < table.cols; ++k) y[k] = load(block, token % kLanes, k) * scale;
}

}  // namespace

void EmbedF32(const KernelCall& call, const StepView& step, int, int64_t row, std::byte*) noexcept {
  Embed(call, step, row, [](const std::byte* block, int64_t lane, int64_t k) {
    float value = 0;
    std::memcpy(&value, block + (k * kLanes + lane) * 4, sizeof value);
    return value;
  });
}

void EmbedBf16(const KernelCall& call, const StepView& step, int, int64_t row, std::byte*) noexcept {
  Embed(call, step, row, [](const std::byte* block, int64_t lane, int64_t k) {
    uint16_t bits = 0;
    std::memcpy(&bits, block + (k / 2 * kLanes + lane) * 4 + k % 2 * 2, sizeof bits);
    return Bf16ToF32(bits);
  });
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
