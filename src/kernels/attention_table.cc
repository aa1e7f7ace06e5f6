#include "kernels/attention_table.h"

#include <algorithm>
#include <array>
#include <iomanip>
#include <sstream>

#include "kernels/attention_tasks.h"
#include "kernels/params.h"

namespace intaglio::kernels {
namespace {

// Any number of query heads a key/value head, any context, prefill and decode alike: a step of at most kMaxSplitRows rows that looks back
// over more than one span is shared by spans, any other by rows (attention_tasks.h).
constexpr std::array kTable{
    AttentionRow{"gqa", "attention", kMaxValueDim, ValueKind::kAsKeys, Reach::kFullOrWindow, Scores::kPlain,
                 "llama, mistral, mixtral, qwen, gemma 3, phi 3, granite, smollm3, olmo 2, falcon h1"},
    AttentionRow{"gqa_softcap", "attention", kMaxValueDim, ValueKind::kAsKeys, Reach::kFullOrWindow, Scores::kSoftcap, "gemma 2"},
    AttentionRow{"gqa_sinks", "attention", kMaxValueDim, ValueKind::kAsKeys, Reach::kFullOrWindow, Scores::kSinks, "gpt-oss"},
    AttentionRow{"gqa_chunked", "attention", kMaxValueDim, ValueKind::kAsKeys, Reach::kChunk, Scores::kPlain, "llama 4"},
    AttentionRow{"gqa_both_ways", "attention", kMaxValueDim, ValueKind::kAsKeys, Reach::kBothWays, Scores::kPlain, "bert, gemma 3 as an embedder"},
    AttentionRow{"latent", "attention", kMaxHeadDim, ValueKind::kLatent, Reach::kFull, Scores::kPlain, "deepseek v3"},
};

constexpr std::array<std::string_view, 2> kValueNames{"as keys", "narrower, 1 KV head"};
constexpr std::array<std::string_view, 4> kReachNames{"full", "full or window", "chunk", "both ways"};
constexpr std::array<std::string_view, 3> kScoreNames{"plain", "softcap", "sinks"};

bool Serves(const AttentionRow& row, const AttentionShape& shape) {
  if (shape.head_dim < 1 || shape.head_dim > row.max_head_dim || shape.v_dim < 1 || shape.v_dim > kMaxValueDim) return false;
  const bool is_latent = shape.kv_heads == 1 && shape.v_dim < shape.head_dim;
  if (row.values == ValueKind::kLatent ? !is_latent : shape.v_dim != shape.head_dim) return false;
  if ((shape.chunk != 0) != (row.reach == Reach::kChunk)) return false;
  if (shape.sees_both_ways != (row.reach == Reach::kBothWays)) return false;
  if (shape.window != 0 && row.reach != Reach::kFullOrWindow && row.reach != Reach::kBothWays) return false;
  return (shape.softcap != 0) == (row.scores == Scores::kSoftcap) && shape.has_sinks == (row.scores == Scores::kSinks);
}

}  // namespace

std::span<const AttentionRow> AttentionTable() { return kTable; }

const AttentionRow* FindAttentionRow(const AttentionShape& shape) {
  const auto* row = std::find_if(kTable.begin(), kTable.end(), [&](const AttentionRow& candidate) { return Serves(candidate, shape); });
  return row == kTable.end() ? nullptr : row;
}

AttentionShape ShapeOfAttention(const Params& params, bool has_sinks) {
  using namespace attention_params;
  const auto& ints = params.ints;
  return {.heads = ints[kHeads],
          .kv_heads = ints[kKvHeads],
          .head_dim = ints[kHeadDim],
          .v_dim = ints[kVDim] == 0 ? ints[kHeadDim] : ints[kVDim],
          .window = ints[kWindow],
          .chunk = ints[kChunk],
          .softcap = params.floats[kSoftcap],
          .has_sinks = has_sinks,
          .sees_both_ways = ints[kBothWays] != 0};
}

std::string ToString(const AttentionShape& shape) {
  std::ostringstream out;
  out << shape.heads << (shape.heads == 1 ? " query head on " : " query heads on ") << shape.kv_heads << " of " << shape.head_dim;
  if (shape.v_dim != shape.head_dim) out << ", values of " << shape.v_dim;
  if (shape.window != 0) out << ", window " << shape.window;
  if (shape.chunk != 0) out << ", chunk " << shape.chunk;
  if (shape.softcap != 0) out << ", softcap " << shape.softcap;
  if (shape.has_sinks) out << ", sinks";
  if (shape.sees_both_ways) out << ", both ways";
  return std::move(out).str();
}

std::string PrintAttentionTable() {
  std::ostringstream out;
  const auto line = [&](std::string_view name, std::string_view kernel, std::string_view dim, std::string_view values, std::string_view reach,
                        std::string_view scores, std::string_view used_by) {
    out << "  " << std::left << std::setw(13) << name << std::setw(11) << kernel << std::setw(11) << dim << std::setw(21) << values << std::setw(16)
        << reach << std::setw(9) << scores << used_by << '\n';
  };
  line("row", "kernel", "head_dim", "values", "reach", "scores", "used by");
  for (const AttentionRow& row : kTable) {
    line(row.name, row.kernel, "1 to " + std::to_string(row.max_head_dim), kValueNames[static_cast<size_t>(row.values)],
         kReachNames[static_cast<size_t>(row.reach)], kScoreNames[static_cast<size_t>(row.scores)], row.used_by);
  }
  return std::move(out).str();
}

}  // namespace intaglio::kernels
