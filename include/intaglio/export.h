// Export: a Hugging Face checkpoint (safetensors or GGUF) in, a bundle out.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "intaglio/gate.h"

namespace intaglio {

struct ExportProgress {
  std::string_view stage;     // "reading", "building graphs", "packing weights", …
  uint64_t done = 0, total = 0;  // in bytes while packing, else in steps
};

struct ExportOptions {
  std::filesystem::path source;            // a checkpoint directory, or a .gguf file
  std::filesystem::path output;            // the bundle directory to make
  std::string task{};                      // "generate" or "embed"; empty: to embed if modules.json of sentence-transformers is there
  // Of matrices: "f32", "bf16", "int8", "int4" (with a scale, int4 also a minimum, for each group of weights), or "auto", which is the default:
  // tensors of GGUF and MXFP4 checkpoints that are quantised stay as they are, all others become f32 (f32 and f16 checkpoints) or bf16.
  // With int4, embedding and head are int8; routers and small matrices keep the checkpoint's precision; norms are f32.
  std::string weights{};
  int32_t group = 0;                       // weights that share a scale: 32, 64 or 128; 0: 32 of int8, 64 of int4
  std::vector<std::string> keep{};         // "PATTERN=FORMAT": matrices whose name (or, for a pattern without dots, a word of it) matches have
      // another format, e.g. "lm_head=int8", "*.down_proj=int8g64"; of several that match, the last counts
  bool dequantize = false;  // with "auto": no tensor stays quantised
  std::string kv_dtype{};  // of cached keys and values: "f32", "bf16" or "int8"; empty: f32
  int64_t max_context = 0;  // 0: the model's own limit, at most 4096 (512 where a text must be whole in one step)
  int32_t max_batch = 0;  // slots; 0: the largest batch bucket
  std::vector<int32_t> prefill_buckets;  // empty: 16, 64, 256 (and the context, where a text must be whole in one step)
  std::vector<int32_t> batch_buckets;  // empty: 1, 2, 4
  double capacity_factor = 0;  // mixtures of experts, in prefill: an expert takes ceil(rows * top_k * factor / experts) rows
      // of a step, and later rows lose it; 0: every row gets the experts that it chose
  int32_t tp_degree = 1;  // ranks that share every layer: 1 to 8
  int32_t ep_degree = 0;  // of them, how many share out the experts of a mixture; the others share the inside of each expert.
      // Divides tp_degree and 8; 0: as many as can
  std::string expert_dispatch{};  // how ranks with whole experts bring the results to their rows: "reduce", "exchange", or "auto", which
      // is the default: for each graph what sends fewer bytes. The answer is the same to the last bit
  int32_t speculation = 0;  // k proposed tokens per sequence; 0: no speculation graph
  bool force = false;  // replace an existing bundle
  bool keep_probes = false;  // keep the intermediate values that parity tests read
  // Judges the bundle when all of it is written but not yet in place (CompareBundle and Summarise of parity.h); the verdict goes into the
  // manifest, and Engine::Load refuses a bundle that failed. What it throws ends the export.
  std::function<ParityGate(const std::filesystem::path& bundle)> gate{};
  std::filesystem::path cache{};  // directory of the compile cache (cache.h): a bundle that is there is not made again, and what is made is
      // kept, up to 20 GB; empty, or with a gate: no cache
  std::function<void(const ExportProgress&)> on_progress;  // may throw to interrupt: nothing is left behind
};

struct ExportReport {
  std::filesystem::path bundle;
  bool embeds = false;  // the bundle embeds texts, and does not generate
  uint64_t weights_bytes = 0, kv_cache_bytes = 0, arena_bytes = 0, tokenizer_bytes = 0;  // of all ranks together
  std::optional<ParityGate> parity;  // where there was a gate
  std::string cache_key{};  // of the bundle, where there was a cache
  bool is_from_cache = false;
  std::vector<std::string> notes;  // checkpoint tensors that no layer uses, and the like
};

// Throws Error. On any failure `output` is as it was.
ExportReport Export(const ExportOptions& options);

}  // namespace intaglio
