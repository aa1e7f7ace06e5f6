#include "bundle/costs.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/base/temporary_folder.h"
#include "tests/bundle/small_bundle.h"

namespace intaglio::bundle {
namespace {

using Json = nlohmann::json;

CostTable Table(const std::string& cpu, int32_t threads, double seconds = 0.25) {
  return {.cpu = cpu,
          .isa = "avx2",
          .threads = threads,
          .steps = {{.kind = StepKind::kContextEncoding, .sequences = 1, .rows = 64, .depth = 512, .seconds = 0.1, .least = 0.05, .most = 1.0 / 3},
                    {.kind = StepKind::kTokenGeneration, .sequences = 2, .rows = 2, .depth = 0, .seconds = seconds, .least = 0.1, .most = 0.3}}};
}

class Costs : public testing::Test {
 protected:
  Costs() { WriteBundle(MakeSmallBundle(), bundle_); }
  const TemporaryFolder folder_;
  const std::filesystem::path bundle_ = folder_.path() / "bundle";
};

TEST_F(Costs, OfAMachineComeBackAsTheyWereStored) {
  EXPECT_TRUE(ReadCosts(bundle_).empty());
  StoreCosts(bundle_, Table("a", 2));
  EXPECT_EQ(ToJson(ReadCosts(bundle_)), ToJson({Table("a", 2)}));
  const StepCost step = FindCosts(bundle_, "a", "avx2", 2).value().steps.front();
  EXPECT_EQ(step.kind, StepKind::kContextEncoding);
  EXPECT_EQ(step.depth, 512);
  EXPECT_EQ(step.most, 1.0 / 3);
}

TEST_F(Costs, ABundleHoldsATableForEachMachine) {
  StoreCosts(bundle_, Table("a", 2));
  StoreCosts(bundle_, Table("b", 2));
  StoreCosts(bundle_, Table("a", 4));
  StoreCosts(bundle_, Table("a", 2, 0.2));   // measured again
  EXPECT_EQ(ReadCosts(bundle_).size(), 3u);
  EXPECT_EQ(FindCosts(bundle_, "a", "avx2", 2).value().steps.back().seconds, 0.2);
  EXPECT_EQ(FindCosts(bundle_, "b", "avx2", 2).value().steps.back().seconds, 0.25);
  EXPECT_FALSE(FindCosts(bundle_, "a", "avx512", 2).has_value());
}

TEST_F(Costs, AreNoPartOfWhatIsChecked) {
  const Bundle before = Bundle::Open(bundle_);
  StoreCosts(bundle_, Table("a", 2));
  EXPECT_EQ(ToJson(Bundle::Open(bundle_).manifest), ToJson(before.manifest));
}

TEST_F(Costs, AreStoredInABundleAlone) {
  EXPECT_NE(MessageOf(ErrorCode::kNotFound, [&] { StoreCosts(folder_.path(), Table("a", 2)); }).find("no bundle"), std::string::npos);
}

TEST_F(Costs, AFileThatIsNoneIsAnErrorThatSaysWhatToDo) {
  std::ofstream(bundle_ / kCostsFile) << "{";
  EXPECT_NE(MessageOf(ErrorCode::kDataLoss, [&] { (void)ReadCosts(bundle_); }).find("bench --all --store"), std::string::npos);
}

TEST(CostsFromJson, EveryFieldIsCheckedByName) {
  const Json whole = Json::parse(ToJson({Table("a", 2)}));
  for (const char* field : {"phase", "sequences", "rows", "depth", "seconds", "least", "most"}) {
    for (const Json& wrong : {Json(-1), Json("x"), Json(nullptr)}) {
      Json json = whole;
      json["tables"][0]["steps"][1][field] = wrong;
      const std::string message = MessageOf(ErrorCode::kDataLoss, [&] { (void)CostsFromJson(json.dump(), "costs.json"); });
      EXPECT_NE(message.find("tables[0]: steps[1]"), std::string::npos) << message;
    }
  }
}

TEST(CostsFromJson, ANewerVersionIsNotRead) {
  const std::string message =
      MessageOf(ErrorCode::kUnsupported, [] { (void)CostsFromJson(R"({"version": 2, "tables": "of another kind"})", "costs.json"); });
  EXPECT_NE(message.find("version 2"), std::string::npos) << message;
}

}  // namespace
}  // namespace intaglio::bundle
