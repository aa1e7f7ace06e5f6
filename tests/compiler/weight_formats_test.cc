#include "compiler/weight_formats.h"

#include <gtest/gtest.h>

#include "intaglio/error.h"
#include "tests/compiler/made_up_checkpoint.h"

namespace intaglio::compiler {
namespace {

using graph::Shard;
using graph::Weight;

const MadeUpCheckpoint kCheckpoint({{"float", {.shape = {128, 256}}}, {"brain", {.shape = {1}, .is_bf16 = true}}});

struct Matrix {
  std::string name;
  Shape shape{512, 512};
  Shard shard = Shard::kRows;
};

Weight WeightOf(const Matrix& matrix) {
  Weight weight{.name = matrix.name, .shape = matrix.shape, .layout = graph::Layout::kMatmul, .sources = {}};
  weight.sources.push_back({.name = matrix.name, .shape = matrix.shape, .shard = matrix.shard});
  return weight;
}

DType FormatOf(const ExportOptions& options, const Matrix& matrix) { return WeightFormats(options, kCheckpoint).Of(WeightOf(matrix)).dtype; }

ExportOptions Options(const std::string& weights, int32_t group = 0, std::vector<std::string> keep = {}) {
  ExportOptions options;
  options.weights = weights, options.group = group, options.keep = std::move(keep);
  return options;
}

std::string ErrorOf(const ExportOptions& options) {
  try {
    const WeightFormats formats(options, kCheckpoint);
    const std::vector<Weight> weights{WeightOf({.name = "model.layers.0.mlp.up_proj.weight"})};
    formats.RequireUse(weights);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "no error";
}

const Matrix kUp{.name = "model.layers.0.mlp.up_proj.weight"};

TEST(WeightFormats, AreThoseAskedForInTheGroupAskedFor) {
  EXPECT_EQ(FormatOf(Options("f32"), kUp), DType::kF32);
  EXPECT_EQ(FormatOf(Options("bf16"), kUp), DType::kBF16);
  EXPECT_EQ(FormatOf(Options("int8"), kUp), DType::kQ8_0);
  EXPECT_EQ(FormatOf(Options("int8", 64), kUp), DType::kInt8G64);
  EXPECT_EQ(FormatOf(Options("int8", 128), kUp), DType::kInt8G128);
  EXPECT_EQ(FormatOf(Options("int4"), kUp), DType::kInt4G64);
  EXPECT_EQ(FormatOf(Options("int4", 32), kUp), DType::kQ4_1);
  EXPECT_EQ(FormatOf(Options("int4", 128), kUp), DType::kInt4G128);
}

TEST(WeightFormats, AreTheCheckpointsPrecisionByDefault) {
  EXPECT_EQ(FormatOf(Options("auto"), kUp), DType::kBF16);   // one of the tensors is bf16
  const MadeUpCheckpoint wide({{"float", {.shape = {1}}}});
  EXPECT_EQ(WeightFormats(Options(""), wide).Of(WeightOf(kUp)).dtype, DType::kF32);
}

TEST(WeightFormats, TheVocabularyHasEightBitsWhereOthersHaveFour) {
  const Matrix table{.name = "model.embed_tokens.weight", .shard = Shard::kVocab};
  EXPECT_EQ(FormatOf(Options("int4"), table), DType::kInt8G64);
  EXPECT_EQ(FormatOf(Options("int4", 32), table), DType::kQ8_0);
  EXPECT_EQ(FormatOf(Options("int8", 128), table), DType::kInt8G128);
}

TEST(WeightFormats, WhatIsSmallOrDecidesWhereRowsGoIsNotQuantised) {
  EXPECT_EQ(FormatOf(Options("int4"), {.name = "model.layers.0.mlp.gate.weight"}), DType::kBF16);
  EXPECT_EQ(FormatOf(Options("int4"), {.name = "model.layers.0.mlp.shared_expert_gate.weight"}), DType::kBF16);
  EXPECT_EQ(FormatOf(Options("int8"), {.name = "small.weight", .shape = {63, 256}}), DType::kBF16);
  EXPECT_EQ(FormatOf(Options("int8"), {.name = "narrow.weight", .shape = {4096, 48}}), DType::kBF16);
  EXPECT_EQ(FormatOf(Options("int8"), {.name = "model.layers.0.mlp.gate_proj.weight"}), DType::kQ8_0);
}

TEST(WeightFormats, DoNotDependOnWhatPartARankHas) {
  Weight weight = WeightOf({.name = "down_proj.weight", .shape = {512, 256}, .shard = Shard::kColumns});
  weight.shape = {512, 32};
  weight.sources.front().first_k = 32, weight.sources.front().num_k = 32;
  EXPECT_EQ(WeightFormats(Options("int8"), kCheckpoint).Of(weight).dtype, DType::kQ8_0);
}

TEST(WeightFormats, KeepIsByAWordOfTheNameOrByAllOfIt) {
  const auto kept = [](std::vector<std::string> keep, const Matrix& matrix) { return FormatOf(Options("int4", 0, std::move(keep)), matrix); };
  EXPECT_EQ(kept({"up_proj=int8"}, kUp), DType::kQ8_0);
  EXPECT_EQ(kept({"up_*=int8g128"}, kUp), DType::kInt8G128);
  EXPECT_EQ(kept({"model.layers.0.*=f32"}, kUp), DType::kF32);
  EXPECT_EQ(kept({"model.layers.0.mlp.up_proj=bf16"}, kUp), DType::kBF16);
  EXPECT_EQ(kept({"model.layers.1.*=f32", "proj=f32"}, kUp), DType::kInt4G64);
  EXPECT_EQ(kept({"up_proj=f32", "mlp=int8"}, kUp), DType::kQ8_0) << "the last one counts";
  EXPECT_EQ(kept({"gate=int8"}, {.name = "model.layers.0.mlp.gate.weight"}), DType::kQ8_0);
}

TEST(WeightFormats, NameTheOptionThatCannotBe) {
  EXPECT_NE(ErrorOf(Options("f64")).find("--weights f64"), std::string::npos);
  EXPECT_NE(ErrorOf(Options("int8", 48)).find("--group 48"), std::string::npos);
  EXPECT_NE(ErrorOf(Options("int8", 0, {"lm_head"})).find("--keep lm_head"), std::string::npos);
  EXPECT_NE(ErrorOf(Options("int8", 0, {"lm_head=q9"})).find("--keep lm_head=q9"), std::string::npos);
  EXPECT_NE(ErrorOf(Options("int8", 0, {"no_such=int8"})).find("--keep no_such=int8 is about no matrix"), std::string::npos);
}

TEST(WeightFormats, HaveANameForAllOfThem) {
  const std::vector<Weight> weights{WeightOf(kUp)};
  const auto name = [&](const ExportOptions& options) { return WeightFormats(options, kCheckpoint).NameOf(weights); };
  EXPECT_EQ(name(Options("auto")), "bf16");
  EXPECT_EQ(name(Options("int8")), "int8g32");
  EXPECT_EQ(name(Options("int4")), "int4g64");
  EXPECT_EQ(name(Options("f32", 0, {"up_proj=int8"})), "f32 mixed");
}

}  // namespace
}  // namespace intaglio::compiler
