// The vector functions of a level over plain arrays, for tests: the sources of this folder cannot be included from outside it.
#pragma once
#include <cstdint>
#include <span>

#include "kernels/kernel.h"

#define INTAGLIO_EXPOSE(isa)                                                                                                 \
  namespace intaglio::kernels::isa {                                                                                         \
  void ExpOf(std::span<const float> x, float* y) noexcept;                                                                   \
  void LogOf(std::span<const float> x, float* y) noexcept;                                                                   \
  void TanhOf(std::span<const float> x, float* y) noexcept;                                                                  \
  void SoftplusOf(std::span<const float> x, float* y) noexcept;                                                              \
  void ExponentialOf(std::span<const uint32_t> words, float* y) noexcept;                                                    \
  /* The block of one counter. */                                                                                            \
  void PhiloxOf(const uint32_t (&counter)[4], uint64_t key, uint32_t (&words)[4]) noexcept;                                  \
  /* The distribution that a sample call draws an output row from; W and scratch as for the kernel. */                       \
  void ProbabilitiesOf(const KernelCall& call, const StepView& step, int64_t output, std::byte* scratch, float* p) noexcept; \
  }
INTAGLIO_EXPOSE(scalar)
INTAGLIO_EXPOSE(avx2)
INTAGLIO_EXPOSE(avx512)
#undef INTAGLIO_EXPOSE
