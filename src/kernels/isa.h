// Instruction-set levels, the one this machine has, and the override INTAGLIO_ISA=scalar|avx2|avxvnni|avx512|avx512vnni.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace intaglio::kernels {

enum class Isa : uint8_t { kScalar, kAvx2, kAvxVnni, kAvx512, kAvx512Vnni };

[[nodiscard]] std::string_view Name(Isa isa);
// Levels that this CPU runs, oldest first. kAvx2 means AVX2 + FMA + F16C, kAvx512 means F + BW + VL + DQ;
// the levels with VNNI differ from the one before in the kernels of quantised weights.
[[nodiscard]] std::vector<Isa> SupportedIsas();
// The best supported level, or the one that `override_name` asks for. Throws Error kInvalidArgument for an unknown name and
// kUnsupported for a level that this CPU lacks. Empty: no override.
[[nodiscard]] Isa ChooseIsa(std::string_view override_name);
// ChooseIsa of the environment variable INTAGLIO_ISA.
[[nodiscard]] Isa IsaFromEnvironment();

}  // namespace intaglio::kernels
