#include "kernels/isa.h"

#include <cpuid.h>

#include <algorithm>
#include <cstdlib>

#include "base/fail.h"

namespace intaglio::kernels {
namespace {

constexpr Isa kAll[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512, Isa::kAvx512Vnni};

// __builtin_cpu_supports of GCC 12 does not know it. Leaf 7, subleaf 1, EAX bit 4; its registers are those of AVX2.
bool HasAvxVnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1u << 4)) != 0;
}

bool IsSupported(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return true;
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    case Isa::kAvxVnni:
      return IsSupported(Isa::kAvx2) && HasAvxVnni();
    case Isa::kAvx512Vnni:
      return IsSupported(Isa::kAvx512) && __builtin_cpu_supports("avx512vnni");
    case Isa::kAvx512:
      return IsSupported(Isa::kAvx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  }
  return false;
}

}  // namespace

std::string_view Name(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvxVnni:
      return "avxvnni";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Vnni:
      return "avx512vnni";
  }
  return "unknown";
}

std::vector<Isa> SupportedIsas() {
  std::vector<Isa> supported;
  std::copy_if(std::begin(kAll), std::end(kAll), std::back_inserter(supported), IsSupported);
  return supported;
}

Isa ChooseIsa(std::string_view override_name) {
  if (override_name.empty()) return SupportedIsas().back();
  for (Isa isa : kAll) {
    if (Name(isa) != override_name) continue;
    Require(IsSupported(isa), ErrorCode::kUnsupported, "this CPU has no ", override_name, "; its best level is ", Name(SupportedIsas().back()));
    return isa;
  }
  Fail(ErrorCode::kInvalidArgument, "unknown instruction set \"", override_name, "\"; known are scalar, avx2, avxvnni, avx512, avx512vnni");
}

Isa IsaFromEnvironment() {
  const char* name = std::getenv("INTAGLIO_ISA");
  return ChooseIsa(name == nullptr ? "" : name);
}

}  // namespace intaglio::kernels
