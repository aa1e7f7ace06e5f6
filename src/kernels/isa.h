// Instruction-set levels, the one this machine has, and the override INTAGLIO_ISA=scalar|avx2|avx512.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace intaglio::kernels {

enum class Isa : uint8_t { kScalar, kAvx2, kAvx512 };

[[nodiscard]] std::string_view Name(Isa isa);
// Levels that this CPU runs, oldest first. kAvx2 means AVX2 + FMA + F16C, kAvx512 means F + BW + VL + DQ.
[[nodiscard]] std::vector<Isa> SupportedIsas();
// The best supported level, or the one that `override_name` asks for. Throws Error kInvalidArgument for an unknown name and
// kUnsupported for a level that this CPU lacks. Empty: no override.
[[nodiscard]] Isa ChooseIsa(std::string_view override_name);
// ChooseIsa of the environment variable INTAGLIO_ISA.
[[nodiscard]] Isa IsaFromEnvironment();

}  // namespace intaglio::kernels
