#include "compiler/export_options.h"

#include <gtest/gtest.h>

#include "tests/base/temporary_folder.h"
#include "tests/compiler/fixture_model.h"

namespace intaglio::compiler {
namespace {

using Buckets = std::vector<int32_t>;

// llama-tiny: f32, at most 512 positions.
ResolvedOptions ResolveFor(const ExportOptions& options, const char* fixture_name = "llama-tiny") {
  const FixtureModel fixture(fixture_name);
  return Resolve(options, *fixture.model);
}

template <typename Change>
std::string ErrorOf(const Change& change) {
  ExportOptions options;
  change(options);
  return MessageOf(ErrorCode::kInvalidArgument, [&] { (void)ResolveFor(options); });
}

bool Contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(Resolve, FillsInDefaults) {
  const ResolvedOptions resolved = ResolveFor({});
  EXPECT_EQ(resolved.max_context, 512);
  EXPECT_EQ(resolved.max_slots, 4);
  EXPECT_EQ(resolved.speculation, 0);
  EXPECT_EQ(resolved.prefill_buckets, (Buckets{16, 64, 256}));
  EXPECT_EQ(resolved.batch_buckets, (Buckets{1, 2, 4}));
}

TEST(Resolve, SortsBucketsAndDropsTwins) {
  ExportOptions options;
  options.prefill_buckets = {64, 16, 64};
  options.batch_buckets = {8, 1, 8};
  const ResolvedOptions resolved = ResolveFor(options);
  EXPECT_EQ(resolved.prefill_buckets, (Buckets{16, 64}));
  EXPECT_EQ(resolved.batch_buckets, (Buckets{1, 8}));
  EXPECT_EQ(resolved.max_slots, 8);
}

TEST(Resolve, MaxBatchIsTheLargestBatchBucket) {
  ExportOptions options;
  options.max_batch = 3;
  EXPECT_EQ(ResolveFor(options).batch_buckets, (Buckets{1, 2, 3}));
  options.max_batch = 8;
  EXPECT_EQ(ResolveFor(options).batch_buckets, (Buckets{1, 2, 4, 8}));
  options.batch_buckets = {16};
  EXPECT_EQ(ResolveFor(options).batch_buckets, (Buckets{8}));
}

TEST(Resolve, NamesTheOptionThatCannotBe) {
  EXPECT_TRUE(Contains(ErrorOf([](ExportOptions& o) { o.max_context = 513; }), "own limit of 512"));
  EXPECT_TRUE(Contains(ErrorOf([](ExportOptions& o) { o.max_context = -1; }), "--max-context -1"));
  EXPECT_TRUE(Contains(ErrorOf([](ExportOptions& o) { o.max_batch = -1; }), "--max-batch -1"));
  EXPECT_TRUE(Contains(ErrorOf([](ExportOptions& o) { o.max_batch = 1 << 20; }), "--max-batch 1048576"));
  EXPECT_TRUE(Contains(ErrorOf([](ExportOptions& o) { o.prefill_buckets = {16, 0}; }), "--prefill-buckets: 0"));
  EXPECT_TRUE(Contains(ErrorOf([](ExportOptions& o) { o.batch_buckets = {-2}; }), "--batch-buckets: -2"));
  EXPECT_TRUE(Contains(ErrorOf([](ExportOptions& o) { o.speculation = -1; }), "--speculation -1"));
  EXPECT_TRUE(Contains(ErrorOf([](ExportOptions& o) { o.max_batch = 1024, o.speculation = 64; }), "66560 rows"));
}

TEST(Resolve, ExpertsExchangeOnlyBetweenRanksThatHaveThemWhole) {
  ExportOptions options;
  options.tp_degree = 4;
  EXPECT_EQ(ResolveFor(options).expert_dispatch, graph::ExpertDispatch::kAuto);
  options.expert_dispatch = "exchange";
  const ResolvedOptions resolved = ResolveFor(options);
  EXPECT_EQ(resolved.expert_dispatch, graph::ExpertDispatch::kExchange);
  for (const models::GraphSizes& graph : GraphsOf(resolved, 1)) EXPECT_EQ(graph.expert_dispatch, graph::ExpertDispatch::kExchange);
  options.expert_dispatch = "reduce", options.ep_degree = 2;
  EXPECT_EQ(ResolveFor(options).expert_dispatch, graph::ExpertDispatch::kReduce);
  EXPECT_TRUE(Contains(ErrorOf([](ExportOptions& o) { o.tp_degree = 4, o.ep_degree = 2, o.expert_dispatch = "exchange"; }), "--tp is 4 and --ep 2"));
  EXPECT_TRUE(Contains(ErrorOf([](ExportOptions& o) { o.expert_dispatch = "reduce"; }), "--expert-dispatch reduce is for several ranks (--tp)"));
  EXPECT_TRUE(Contains(ErrorOf([](ExportOptions& o) { o.expert_dispatch = "send"; }), "--expert-dispatch send is not supported"));
}

TEST(GraphsOf, HasAGraphForEachPhaseAndBucket) {
  const std::vector<models::GraphSizes> graphs =
      GraphsOf({.max_context = 100, .max_slots = 24, .speculation = 3, .prefill_buckets = {8, 64}, .batch_buckets = {1, 24}});
  std::vector<std::vector<int64_t>> sizes;
  for (const models::GraphSizes& graph : graphs) sizes.push_back({static_cast<int64_t>(graph.phase), graph.rows, graph.outputs});
  EXPECT_EQ(sizes, (std::vector<std::vector<int64_t>>{{0, 8, 8}, {0, 64, 24}, {1, 1, 1}, {1, 24, 24}, {2, 4, 4}, {2, 96, 96}}));
}

}  // namespace
}  // namespace intaglio::compiler
