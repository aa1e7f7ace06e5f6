// manifest.json: what a bundle is, as typed fields. Everything a runtime must know that is not in a plan.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/tensor.h"
#include "intaglio/gate.h"

namespace intaglio::bundle {

inline constexpr int kFormatVersion = 2;   // that this version reads up to; bundles of one rank are written as version 1

// KV layers that share a block table: those of one reach. window 0: full attention.
struct KvGroup {
  int64_t window = 0;
  int64_t blocks_per_slot = 0;   // blocks a slot may hold at once; full: covers max_context, sliding: only the reach
};
struct KvLayer {
  int32_t group = 0;
  int64_t kv_heads = 0, head_dim = 0;
  int64_t v_dim = 0;             // of a value head; 0: head_dim
  DType dtype = DType::kF32;     // of keys and values: f32, bf16 or i8
  uint64_t offset = 0, bytes = 0;  // in the KV pool: [max_slots * blocks_per_slot] blocks of kernels/kv_layout.h
  [[nodiscard]] int64_t value_dim() const { return v_dim == 0 ? head_dim : v_dim; }
};
// A layer's recurrent state: the entries that the last positions of every slot left, position p in entry p % entries.
struct StateEntry {
  int32_t layer = 0;
  std::string name;              // "conv" or "recurrent"
  int64_t floats = 0, entries = 0;   // of an entry; of a slot
  uint64_t offset = 0, bytes = 0;    // in the KV pool, after the KV layers: [max_slots * entries] rows of StateStride(floats) floats
};
[[nodiscard]] constexpr int64_t StateStride(int64_t floats) { return (floats + 15) / 16 * 16; }
struct WeightEntry {
  std::string name;              // scope name, e.g. "model.layers.0.self_attn.qkv_proj.weight"
  std::string layout;            // "matmul" (packed), "vector" (f32 row) or "table" (f32 rows)
  DType dtype = DType::kF32;
  Shape shape;
  uint64_t offset = 0, bytes = 0;
};
struct FileEntry {
  uint64_t bytes = 0;
  std::string hash;              // HashHex of the whole file
};

// Exact bytes, by purpose. They are the most that the process holds, and what it holds after a load with prefault, plus a small constant for the
// program itself.
struct MemoryPlan {
  uint64_t weights = 0, kv_cache = 0, arena = 0, tokenizer = 0;
  [[nodiscard]] uint64_t total() const { return weights + kv_cache + arena + tokenizer; }
  MemoryPlan& operator+=(const MemoryPlan& other) {
    weights += other.weights, kv_cache += other.kv_cache, arena += other.arena, tokenizer += other.tokenizer;
    return *this;
  }
};

// What an embedder's bundle computes instead of next tokens: a vector a text.
struct EmbeddingEntry {
  int64_t dim = 0;
  std::string pooling;                     // "cls", "mean", "lasttoken": which rows stand for the text
  bool is_normalised = false;              // vectors have unit length
  bool needs_whole_sequences = false;      // a text must be in one step, so none may be longer than the largest prefill bucket
};

// What one rank of a bundle holds.
struct RankEntry {
  int64_t vocab_begin = 0, vocab_end = 0;  // its columns of the logits; both 0: all
  std::vector<KvLayer> kv_layers;
  std::vector<StateEntry> states;
  MemoryPlan memory;
  std::vector<WeightEntry> weights;
};

// The rank's fields are those of the rank that the bundle was opened as.
struct Manifest : RankEntry {
  int format_version = 1;
  std::string compiler_version;            // Intaglio's
  std::string architecture, model_type;    // "LlamaForCausalLM", "llama"
  std::string source, source_hash;         // base name of the checkpoint, and a digest of what it came from
  std::string numerics = "portable";
  std::string weight_format = "f32";       // of matrices in general: "f32", "bf16", "int8g32", "int4g64", …, "gguf" (as the file has them)
  int32_t tp_degree = 1, ep_degree = 1;    // ranks, and how many of them share out the experts; the others share the inside of each
  int64_t vocab_size = 0, hidden_size = 0, num_layers = 0, max_context = 0;
  bool rope_follows_length = false;        // rotations follow the length of the prompt, or a later token's own place (runtime/rope_rows.h)
  int64_t rope_switch = 0;                 // longer sequences are rotated by other rows of the rotary tables (runtime/rope_rows.h); 0: none
  double capacity_factor = 0;              // experts take no more rows of a prefill step than this says (ExportOptions); 0: all
  std::string expert_dispatch;             // "reduce" or "exchange" where somebody chose (ExportOptions); empty: each graph's cheaper way
  int32_t max_slots = 0, speculation = 0;  // sequences at once; proposed tokens per sequence (0: no speculation graph)
  std::vector<int32_t> prefill_buckets, batch_buckets;
  std::vector<int32_t> eos_ids;            // from generation_config.json, else config.json
  int32_t bos_id = -1, pad_id = -1;
  std::optional<EmbeddingEntry> embedding; // of a bundle that embeds: it has context-encoding plans alone, and no batch buckets
  std::vector<KvGroup> kv_groups;          // the same on all ranks, as block tables are
  std::vector<RankEntry> ranks;            // of a bundle for several; empty for one
  std::optional<ParityGate> parity;        // of an export that was validated
  std::map<std::string, FileEntry> files;  // every other file of the bundle, by name

  // Columns of the logits that the rank computes.
  [[nodiscard]] int64_t own_vocab() const { return ranks.empty() ? vocab_size : vocab_end - vocab_begin; }
};

[[nodiscard]] std::string ToJson(const Manifest& manifest);
// As rank `rank` sees it. Throws Error kDataLoss naming `where` and the field, kUnsupported for a newer format_version (says which version
// wrote it), kInvalidArgument for a rank that the bundle does not have.
[[nodiscard]] Manifest ManifestFromJson(std::string_view json, const std::string& where, int rank = 0);

}  // namespace intaglio::bundle
