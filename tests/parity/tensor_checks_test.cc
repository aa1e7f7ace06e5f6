#include "parity/tensor_checks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <list>

#include "base/fail.h"
#include "base/safetensors_writer.h"
#include "parity/temporary_directory.h"

namespace intaglio::parity {
namespace {

class TensorChecks : public testing::Test {
 protected:
  template <typename T>
  void AddGolden(const std::string& name, DType dtype, Shape shape, const std::vector<T>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    const std::vector<std::byte>& kept = bytes_.emplace_back(bytes.begin(), bytes.end());
    tensors_.push_back({.name = name, .tensor = {.dtype = dtype, .shape = std::move(shape), .bytes = kept}});
  }
  [[nodiscard]] checkpoint::SafetensorsFile Goldens() const {
    WriteSafetensors(directory_.path() / "golden.safetensors", tensors_);
    return checkpoint::SafetensorsFile::Open(directory_.path() / "golden.safetensors");
  }
  [[nodiscard]] std::vector<ParityCheck> Check(const ProbeValues& values) const { return CheckProbes(Goldens(), "p1.", values, /*tolerance=*/0.1); }

 private:
  const TemporaryDirectory directory_;
  std::list<std::vector<std::byte>> bytes_;
  std::vector<NamedTensor> tensors_;
};

TEST_F(TensorChecks, ToleranceIsRelativeToTheLargestEntry) {
  AddGolden<float>("p1.layer0.mlp_out", DType::kF32, {2, 2}, {1, -10, 2, 3});
  ParityCheck check = Check({{"layer0.mlp_out", {1, -10, 2, 3.5f}}}).front();
  EXPECT_TRUE(check.is_ok);
  EXPECT_EQ(check.tolerance, 1.0);
  EXPECT_EQ(check.worst, 0.5);
  EXPECT_NE(check.where.find("[1, 1]"), std::string::npos) << check.where;
  EXPECT_FALSE(Check({{"layer0.mlp_out", {1, -10, 2, 4.5f}}}).front().is_ok);
}

TEST_F(TensorChecks, HeadsStandBeforeRowsInTheGoldens) {
  AddGolden<float>("p1.layer0.q_rope", DType::kF32, {2, 3, 1}, {1, 2, 3, 10, 20, 30});   // [heads, rows, dim]
  EXPECT_EQ(Check({{"layer0.q_rope", {1, 10, 2, 20, 3, 30}}}).front().worst, 0);
}

TEST_F(TensorChecks, ExpertsAreASetAndTheirWeightsGoByExpert) {
  AddGolden<int32_t>("p1.layer0.expert_ids", DType::kI32, {2, 2}, {3, 1, 0, 2});
  AddGolden<float>("p1.layer0.expert_weights", DType::kF32, {2, 2}, {0.75f, 0.25f, 0.5f, 0.5f});
  for (const ParityCheck& check : Check({{"layer0.expert_ids", {1, 3, 0, 2}}, {"layer0.expert_weights", {0.25f, 0.75f, 0.5f, 0.5f}}})) {
    EXPECT_TRUE(check.is_ok) << check.name;
    EXPECT_EQ(check.worst, 0) << check.name;
  }
  const std::vector<ParityCheck> other = Check({{"layer0.expert_ids", {1, 3, 0, 5}}, {"layer0.expert_weights", {0.25f, 0.75f, 0.5f, 0.5f}}});
  EXPECT_FALSE(other[0].is_ok);
  EXPECT_EQ(other[0].where, "row 1: expert 2 was not chosen");
  EXPECT_FALSE(other[1].is_ok);
  EXPECT_FALSE(Check({{"layer0.expert_ids", {1, 3, 0, 2}}}).front().is_ok);   // an engine that gives no weights
}

TEST_F(TensorChecks, WhatTheEngineDoesNotHaveOrHasInAnotherSizeIsAMiss) {
  AddGolden<float>("p1.hidden.layer0", DType::kF32, {1, 2}, {1, 2});
  AddGolden<float>("p1.hidden.layer1", DType::kF32, {1, 2}, {1, 2});
  for (const ParityCheck& check : Check({{"hidden.layer1", {1, 2, 3}}})) {
    EXPECT_FALSE(check.is_ok) << check.name;
    EXPECT_EQ(check.worst, INFINITY) << check.name;
  }
}

TEST_F(TensorChecks, AGoldenWithoutColumnsIsAnError) {
  AddGolden<int32_t>("p1.layer0.expert_ids", DType::kI32, {}, {3});
  EXPECT_THROW((void)Check({{"layer0.expert_ids", {3}}}), Error);
}

TEST_F(TensorChecks, DriftIsTheRelativeErrorLayerByLayer) {
  AddGolden<float>("p1.hidden.embed", DType::kF32, {1, 2}, {3, 4});
  AddGolden<float>("p1.hidden.layer0", DType::kF32, {1, 2}, {3, 4});
  AddGolden<float>("p1.hidden.final_norm", DType::kF32, {1, 2}, {0, 0});
  const std::vector<LayerDrift> drift =
      MeasureDrift(Goldens(), "p1.", {{"hidden.embed", {3, 4}}, {"hidden.layer0", {3, 4.5f}}, {"hidden.final_norm", {0, 0}}});
  ASSERT_EQ(drift.size(), 3u);
  EXPECT_EQ(drift[0].error, 0);
  EXPECT_NEAR(drift[1].error, 0.1, 1e-12);
  EXPECT_EQ(drift[1].name, "layer0");
  EXPECT_EQ(drift[2].error, 0);
}

}  // namespace
}  // namespace intaglio::parity
