#include "compiler/task.h"

#include <gtest/gtest.h>

#include "compiler/export_options.h"
#include "compiler/lower_cpu.h"
#include "compiler/pipeline.h"
#include "tests/base/temporary_folder.h"
#include "tests/compiler/fixture_model.h"

namespace intaglio::compiler {
namespace {

using Buckets = std::vector<int32_t>;
using checkpoint::Checkpoint;

struct Source {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<models::Model> model;

  explicit Source(const std::string& fixture, const std::string& task = {}) : checkpoint(Checkpoint::Open(FixturePath(fixture))) {
    const auto config = checkpoint::HfConfig::Parse(checkpoint->config_json(), fixture);
    model = ParseModelFor(task, config, *checkpoint, fixture);
  }
  [[nodiscard]] ResolvedOptions Resolved(const ExportOptions& options = {}) const { return Resolve(options, *model); }
};

TEST(Task, IsToEmbedWhereThereAreModules) {
  for (const char* fixture : {"qwen3-embedding-tiny", "gemma3-embedding-tiny", "bert-embedding-tiny"}) {
    EXPECT_TRUE(Source(fixture).model->embedder().has_value()) << fixture;
  }
  EXPECT_FALSE(Source("qwen3-tiny").model->embedder().has_value());
}

TEST(Task, CanBeChosen) { EXPECT_FALSE(Source("qwen3-embedding-tiny", "generate").model->embedder().has_value()); }

TEST(Task, IsAnErrorThatSaysWhatIsMissing) {
  EXPECT_NE(MessageOf(ErrorCode::kNotFound, [] { (void)Source("qwen3-tiny", "embed"); }).find("needs the modules.json"), std::string::npos);
  EXPECT_NE(MessageOf(ErrorCode::kUnsupported, [] { (void)Source("bert-embedding-tiny", "generate"); }).find("has no next token"), std::string::npos);
  EXPECT_NE(MessageOf(ErrorCode::kInvalidArgument, [] { (void)Source("qwen3-tiny", "rank"); }).find("--task rank"), std::string::npos);
}

TEST(Task, AnEmbedderHasGraphsOfContextEncodingAlone) {
  for (const models::GraphSizes& graph : GraphsOf(Source("qwen3-embedding-tiny").Resolved())) EXPECT_EQ(graph.phase, Phase::kContextEncoding);
}

TEST(Task, AnEmbedderHasNoSpeculation) {
  ExportOptions options;
  options.speculation = 2;
  EXPECT_NE(MessageOf(ErrorCode::kInvalidArgument, [&] { (void)Source("qwen3-embedding-tiny").Resolved(options); }).find("--task generate"),
            std::string::npos);
}

TEST(Task, ALargestBucketHoldsTheContextWhereATextMustBeWhole) {
  const Source gemma("gemma3-embedding-tiny"), bert("bert-embedding-tiny");   // 512 and 128 positions
  EXPECT_EQ(gemma.Resolved().prefill_buckets, (Buckets{16, 64, 256, 512}));
  EXPECT_EQ(gemma.Resolved().max_context, 512);
  EXPECT_EQ(bert.Resolved().prefill_buckets, (Buckets{16, 64, 128}));
  EXPECT_EQ(bert.Resolved().max_context, 128);
  EXPECT_EQ(Source("qwen3-embedding-tiny").Resolved().prefill_buckets, (Buckets{16, 64, 256}));   // causal: chunks

  ExportOptions options;
  options.max_context = 100;
  EXPECT_EQ(gemma.Resolved(options).prefill_buckets, (Buckets{16, 64, 100}));
  options.prefill_buckets = {32, 200};
  EXPECT_EQ(gemma.Resolved(options).prefill_buckets, (Buckets{32, 200}));
  options.max_context = 0;
  EXPECT_EQ(gemma.Resolved(options).max_context, 200);
  options.max_context = 201;
  EXPECT_NE(MessageOf(ErrorCode::kInvalidArgument, [&] { (void)gemma.Resolved(options); }).find("the largest of --prefill-buckets 200"),
            std::string::npos);
}

// The last steps of an embedder work on one row a text; a mistake here would make the device compute as many rows as there are tokens.
TEST(Task, WhatFollowsThePoolingWorksOnOutputRows) {
  const Source gemma("gemma3-embedding-tiny");
  graph::Graph graph = gemma.model->Build({.rows = 32, .outputs = 4, .max_context = 32});
  RunPipeline(graph, {});
  const std::vector<graph::Graph> graphs{graph};
  const WeightLayout weights = PlaceWeights(graphs);
  const KvLayout kv = PlaceKvCache(graph, {.max_context = 32, .max_slots = 4, .largest_step = 32});
  const bundle::Plan plan = LowerToCpu(graph, {.weights = weights, .kv = kv, .keep_probes = false});
  bool is_pooled = false;
  for (const bundle::Call& call : plan.calls) {
    is_pooled |= call.kernel == "pool";
    if (call.kernel == "kv_write") continue;
    EXPECT_EQ(call.operands[0].rows, is_pooled ? 4 : 32) << call.label;
  }
  EXPECT_TRUE(is_pooled);
  EXPECT_EQ(plan.logits.cols, 64);
  EXPECT_EQ(plan.ids.space, bundle::Space::kNone);
}

}  // namespace
}  // namespace intaglio::compiler
