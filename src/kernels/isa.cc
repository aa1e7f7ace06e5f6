#include "kernels/isa.h"

#include <algorithm>
#include <cstdlib>

#include "base/fail.h"

namespace intaglio::kernels {
namespace {

constexpr Isa kAll[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512};

bool IsSupported(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return true;
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
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
    case Isa::kAvx512:
      return "avx512";
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
  Fail(ErrorCode::kInvalidArgument, "unknown instruction set \"", override_name, "\"; known are scalar, avx2, avx512");
}

Isa IsaFromEnvironment() {
  const char* name = std::getenv("INTAGLIO_ISA");
  return ChooseIsa(name == nullptr ? "" : name);
}

}  // namespace intaglio::kernels
