// Every fixture against its goldens, at every instruction-set level that this CPU has.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/fail.h"
#include "intaglio/parity.h"
#include "kernels/isa.h"
#include "tests/base/temporary_folder.h"
#include "tests/decoder_fixtures.h"
#include "tests/parity/exported.h"

namespace intaglio::test {
namespace {

class Parity : public testing::TestWithParam<const char*> {};

TEST_P(Parity, F32WeightsComputeWhatTransformersComputes) {
  for (kernels::Isa isa : kernels::SupportedIsas()) {
    const ParityReport report = CompareFixture(FixturePath(GetParam()), {.dtype = "f32", .isa = std::string(Name(isa)), .threads = 2});
    EXPECT_TRUE(report.is_ok()) << ToMarkdown({&report, 1}, /*only_summary=*/false);
    EXPECT_GE(report.checks.size(), 20u);
  }
}

TEST_P(Parity, Bf16WeightsStayWithinTheBf16Criteria) {
  const ParityReport report = CompareFixture(FixturePath(GetParam()), {.dtype = "bf16", .isa = {}, .threads = 2});
  EXPECT_TRUE(report.is_ok()) << ToMarkdown({&report, 1}, /*only_summary=*/false);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, Parity, testing::ValuesIn(kDecoderFixtures), [](const testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(CompareFixture, AFolderWithoutGoldensIsAnError) { EXPECT_THROW((void)CompareFixture(FixturePath("_base")), Error); }

TEST(CompareFixture, AModelThatCannotBeExportedIsReportedNotThrown) {
  const TemporaryFolder folder;
  std::filesystem::copy(FixturePath("llama-tiny"), folder.path(), std::filesystem::copy_options::recursive);
  std::ofstream(folder.path() / "config.json") << R"({"architectures": ["UnheardOfForCausalLM"]})";
  const ParityReport report = CompareFixture(folder.path());
  EXPECT_FALSE(report.is_ok());
  EXPECT_NE(report.error.find("UnheardOfForCausalLM"), std::string::npos) << report.error;
}

}  // namespace
}  // namespace intaglio::test
