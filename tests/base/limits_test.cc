#include "base/limits.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace intaglio {
namespace {

TEST(Peaks, ThoseThatThisCpuClaimsToHaveRun) {
  ThreadPool pool(1);
  for (const Peak& peak : Peaks()) {
    if (!peak.is_supported()) continue;
    EXPECT_GT(PeakSeconds(pool, peak), 0) << peak.name;
  }
}

TEST(Peaks, EveryLevelHasSumsOfProductsOfInt8) {
  for (const char* level : {"AVX2", "AVX-512", "VNNI"}) {
    EXPECT_TRUE(std::ranges::any_of(Peaks(), [&](const Peak& peak) { return peak.name.starts_with("int8") && peak.name.ends_with(level); })) << level;
  }
}

}  // namespace
}  // namespace intaglio
