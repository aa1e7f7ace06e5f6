#include "compiler/export_options.h"

#include <algorithm>

#include "base/fail.h"
#include "kernels/kv_layout.h"
#include "layers/shard.h"

namespace intaglio::compiler {
namespace {

constexpr int64_t kDefaultMaxContext = 4096;
constexpr int64_t kDefaultWholeContext = 512;   // rows of a step, where a text must be whole in it
// Far beyond any use; they keep tables and products sane.
constexpr int64_t kLargestContext = int64_t{1} << 24;
constexpr double kLargestCapacityFactor = 1024;
constexpr int32_t kLargestStep = 1 << 16, kLargestBatch = 1024, kLargestSpeculation = 64;
constexpr int32_t kPrefillOutputs = 16;  // output rows of a chunk: bounds the logits in the arena; runs that want every logit use chunks of this size

std::vector<int32_t> SortedUnique(std::vector<int32_t> values, const char* option, int32_t largest) {
  for (int32_t value : values)
    Require(value >= 1 && value <= largest, ErrorCode::kInvalidArgument, "export: ", option, ": ", value, " is not within 1 to ", largest);
  std::ranges::sort(values);
  const auto tail = std::ranges::unique(values);
  values.erase(tail.begin(), tail.end());
  return values;
}

DType ParseKvDType(const std::string& name) {
  if (name.empty()) return DType::kF32;
  const auto* dtype = std::ranges::find(kernels::kKvTypes, name, kernels::KvTypeName);
  Require(dtype != kernels::kKvTypes.end(), ErrorCode::kInvalidArgument, "export: --kv-dtype ", name, " is not supported; f32, bf16 and int8 are");
  return *dtype;
}

void CheckContext(int64_t tokens, int64_t max_position) {
  Require(tokens >= 1, ErrorCode::kInvalidArgument, "export: --max-context ", tokens, " is not a number of tokens");
  Require(tokens <= max_position, ErrorCode::kInvalidArgument, "export: --max-context ", tokens, " is beyond the model's own limit of ", max_position,
          " (max_position_embeddings)");
  Require(tokens <= kLargestContext, ErrorCode::kInvalidArgument, "export: --max-context ", tokens, " is beyond ", kLargestContext,
          ", the longest that can be planned");
}

// Where a text must be whole in one step, context and largest bucket are one number: each follows the other where it is not given.
void ResolveWholeSequences(const ExportOptions& options, int64_t max_position, ResolvedOptions& r) {
  const bool has_buckets = !options.prefill_buckets.empty();
  if (options.max_context == 0) r.max_context = std::min(max_position, has_buckets ? int64_t{r.prefill_buckets.back()} : kDefaultWholeContext);
  if (!has_buckets) {
    std::erase_if(r.prefill_buckets, [&](int32_t bucket) { return bucket >= r.max_context; });
    Require(r.max_context <= kLargestStep, ErrorCode::kInvalidArgument, "export: --max-context ", r.max_context, " is beyond ", kLargestStep,
            ", the most rows of a step, which this model needs a text to be in");
    r.prefill_buckets.push_back(static_cast<int32_t>(r.max_context));
  }
  Require(r.prefill_buckets.back() >= r.max_context, ErrorCode::kInvalidArgument, "export: this model needs a text in one step, but --max-context ",
          "is ", r.max_context, " and the largest of --prefill-buckets ", r.prefill_buckets.back(),
          "; make the bucket as large, or leave one of them out");
}

// An embedder has no next tokens: no graphs of token generation, and none of speculation.
void ResolveEmbedder(const ExportOptions& options, const models::Model& model, ResolvedOptions& r) {
  Require(options.speculation == 0, ErrorCode::kInvalidArgument, "export: --speculation ", options.speculation,
          " is for models that generate text; this checkpoint is exported to embed (--task generate exports it to generate)");
  r.batch_buckets.clear();
  if (model.needs_whole_sequences()) ResolveWholeSequences(options, model.max_position(), r);
}

// Ranks own whole canonical segments of heads, columns and vocabulary, and whole groups of experts: there are eight of each.
void ResolveRanks(const ExportOptions& options, ResolvedOptions& r) {
  const int32_t tp = options.tp_degree, ep = options.ep_degree;
  Require(tp >= 1 && tp <= graph::kNumSegments, ErrorCode::kInvalidArgument, "export: --tp ", tp, " is not within 1 to ", graph::kNumSegments);
  Require(ep >= 0 && (ep == 0 || (tp % ep == 0 && graph::kNumSegments % ep == 0)), ErrorCode::kInvalidArgument, "export: --ep ", ep,
          " does not divide both --tp ", tp, " and ", graph::kNumSegments);
  r.tp_degree = tp;
  r.ep_degree = ep != 0 ? ep : layers::DefaultEpDegree(tp);
}

// An exchange moves whole experts' results between ranks.
void ResolveDispatch(const ExportOptions& options, ResolvedOptions& r) {
  const std::string& dispatch = options.expert_dispatch;
  if (dispatch.empty() || dispatch == "auto") return;
  Require(dispatch == "reduce" || dispatch == "exchange", ErrorCode::kInvalidArgument, "export: --expert-dispatch ", dispatch,
          " is not supported; auto, reduce and exchange are");
  Require(r.tp_degree > 1, ErrorCode::kInvalidArgument, "export: --expert-dispatch ", dispatch, " is for several ranks (--tp)");
  Require(dispatch == "reduce" || r.ep_degree == r.tp_degree, ErrorCode::kInvalidArgument,
          "export: --expert-dispatch exchange needs every expert whole on one rank, but --tp is ", r.tp_degree, " and --ep ", r.ep_degree);
  r.expert_dispatch = dispatch == "reduce" ? graph::ExpertDispatch::kReduce : graph::ExpertDispatch::kExchange;
}

}  // namespace

ResolvedOptions Resolve(const ExportOptions& options, const models::Model& model) {
  ResolvedOptions r;
  r.kv_dtype = ParseKvDType(options.kv_dtype);
  r.max_context = options.max_context != 0 ? options.max_context : std::min(model.max_position(), kDefaultMaxContext);
  CheckContext(r.max_context, model.max_position());

  const bool has_batch_buckets = !options.batch_buckets.empty();
  r.batch_buckets = SortedUnique(has_batch_buckets ? options.batch_buckets : std::vector<int32_t>{1, 2, 4}, "--batch-buckets", kLargestBatch);
  Require(options.max_batch >= 0 && options.max_batch <= kLargestBatch, ErrorCode::kInvalidArgument, "export: --max-batch ", options.max_batch,
          " is not within 1 to ", kLargestBatch);
  r.max_slots = options.max_batch > 0 ? options.max_batch : r.batch_buckets.back();
  std::erase_if(r.batch_buckets, [&](int32_t bucket) { return bucket > r.max_slots; });
  if (r.batch_buckets.empty() || r.batch_buckets.back() < r.max_slots) r.batch_buckets.push_back(r.max_slots);

  r.prefill_buckets =
      SortedUnique(options.prefill_buckets.empty() ? std::vector<int32_t>{16, 64, 256} : options.prefill_buckets, "--prefill-buckets", kLargestStep);
  Require(options.speculation >= 0 && options.speculation <= kLargestSpeculation, ErrorCode::kInvalidArgument, "export: --speculation ",
          options.speculation, " is not within 0 to ", kLargestSpeculation);
  r.speculation = options.speculation;
  Require(options.capacity_factor >= 0 && options.capacity_factor <= kLargestCapacityFactor, ErrorCode::kInvalidArgument,
          "export: --capacity-factor ", options.capacity_factor, " is not within 0 (no row loses an expert) to ", kLargestCapacityFactor);
  r.capacity_factor = options.capacity_factor;
  ResolveRanks(options, r);
  ResolveDispatch(options, r);
  if (model.embedder()) ResolveEmbedder(options, model, r);
  const int64_t rows = int64_t{r.max_slots} * (r.speculation + 1);
  Require(rows <= kLargestStep, ErrorCode::kInvalidArgument, "export: ", r.max_slots, " sequences with --speculation ", r.speculation,
          " make steps of ", rows, " rows; at most ", kLargestStep, " are possible");
  return r;
}

std::vector<models::GraphSizes> GraphsOf(const ResolvedOptions& options, int rank) {
  const graph::RankPlace place{.rank = rank, .tp_degree = options.tp_degree, .ep_degree = options.ep_degree};
  std::vector<models::GraphSizes> graphs;
  for (int32_t rows : options.prefill_buckets) {
    graphs.push_back({.phase = Phase::kContextEncoding,
                      .rows = rows,
                      .outputs = std::min(rows, std::max(kPrefillOutputs, options.max_slots)),
                      .max_context = options.max_context,
                      .capacity_factor = options.capacity_factor,
                      .place = place,
                      .expert_dispatch = options.expert_dispatch});
  }
  for (int32_t batch : options.batch_buckets)
    graphs.push_back({.phase = Phase::kTokenGeneration,
                      .rows = batch,
                      .outputs = batch,
                      .max_context = options.max_context,
                      .place = place,
                      .expert_dispatch = options.expert_dispatch});
  if (options.speculation == 0) return graphs;
  for (int32_t batch : options.batch_buckets) {
    const int64_t rows = int64_t{batch} * (options.speculation + 1);
    graphs.push_back({.phase = Phase::kSpeculation,
                      .rows = rows,
                      .outputs = rows,
                      .max_context = options.max_context,
                      .place = place,
                      .expert_dispatch = options.expert_dispatch});
  }
  return graphs;
}

}  // namespace intaglio::compiler
