#include "kernels/isa.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "intaglio/error.h"
#include "kernels/registry.h"

namespace intaglio::kernels {
namespace {

TEST(Isa, TheScalarLevelIsAlwaysSupportedAndTheOldest) {
  const std::vector<Isa> supported = SupportedIsas();
  EXPECT_EQ(supported.front(), Isa::kScalar);
  EXPECT_TRUE(std::ranges::is_sorted(supported));
}

TEST(Isa, WithoutAnOverrideTheBestLevelIsChosen) { EXPECT_EQ(ChooseIsa(""), SupportedIsas().back()); }

TEST(Isa, EverySupportedLevelCanBeForced) {
  for (Isa isa : SupportedIsas()) EXPECT_EQ(ChooseIsa(Name(isa)), isa);
}

TEST(Isa, ALevelThatTheCpuLacksIsRefused) {
  const std::vector<Isa> supported = SupportedIsas();
  for (Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
    if (std::ranges::find(supported, isa) != supported.end()) continue;
    try {
      (void)ChooseIsa(Name(isa));
      FAIL() << Name(isa);
    } catch (const Error& error) { EXPECT_EQ(error.code(), ErrorCode::kUnsupported); }
  }
}

TEST(Isa, AnUnknownNameIsRefusedWithTheKnownOnes) {
  try {
    (void)ChooseIsa("neon");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_STREQ(error.what(), "unknown instruction set \"neon\"; known are scalar, avx2, avxvnni, avx512, avx512vnni");
  }
}

TEST(Registry, EveryLevelHasTheSameKernels) {
  std::set<std::string_view> names;
  for (const Kernel& kernel : AllKernels(Isa::kScalar)) {
    EXPECT_TRUE(names.insert(kernel.name).second) << kernel.name << " twice";
    for (Isa isa : SupportedIsas()) {
      const Kernel* found = FindKernel(kernel.name, isa);
      ASSERT_NE(found, nullptr) << kernel.name;
      EXPECT_EQ(found->num_stages, kernel.num_stages) << kernel.name;
      EXPECT_EQ(found->check, kernel.check) << kernel.name;
    }
  }
  EXPECT_TRUE(names.contains("matmul_bf16"));
}

TEST(Registry, AnUnknownKernelIsNull) { EXPECT_EQ(FindKernel("matmul_f64", Isa::kScalar), nullptr); }

}  // namespace
}  // namespace intaglio::kernels
