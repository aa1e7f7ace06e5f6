// The engine: a loaded bundle that computes steps over slots. Token ids in, token ids out; text is not its business.
// One thread at a time may use an Engine.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace intaglio {

struct EngineOptions {
  int threads = 0;                  // of all ranks together; 0: one per physical core that this process may use
  int threads_per_rank = 0;         // 0: as many as `threads` leaves to each
  // "none": threads run anywhere; "core": each has a core of its own, those of a rank on one NUMA node; "numa": those of a rank float over
  // the cores of its node; empty: "core" where cores suffice. One rank computes on the thread that calls Load, which "core" and "numa" bind
  // for good; empty binds only the threads that Load starts.
  std::string bind{};
  std::string wire{};               // how sums travel between ranks: "f32"; "bf16" is half the bytes, and gives up that answers are those of one
                                    // rank; empty: "f32"
  std::string isa{};                // "scalar", "avx2", "avx512"; empty: INTAGLIO_ISA, else the best this CPU has
  bool verify_checksums = true;
  // Where it is remembered which files had the right checksum, so that each is read once (the compile cache's directory, cache.h); empty: they
  // are verified at every load.
  std::filesystem::path cache{};
  bool allow_failed_parity = false; // load a bundle whose parity gate failed at export
  bool prefault = false;            // weights, KV cache and arena are in RAM when Load returns, else when steps touch them first
  bool mlock = false;               // the same, and they stay there
  std::function<void(uint64_t done, uint64_t total)> on_prefault{};  // bytes of rank 0, while Load waits, maybe on another thread; must not throw
};

struct ModelInfo {
  std::string architecture, source, numerics, weight_dtype, isa;
  int64_t vocab_size = 0, hidden_size = 0, num_layers = 0, max_context = 0;
  int64_t embedding_dim = 0;        // of a bundle that embeds: columns of an embedding; 0: it generates text
  bool is_recurrent = false;        // layers carry a state: what Truncate leaves may have to be computed again
  bool needs_whole_sequences = false;   // all tokens of a sequence must be in one step, as some embedders need it
  int32_t max_slots = 0, speculation = 0, threads = 0;   // threads: of a rank
  int32_t tp_degree = 1, ep_degree = 1;   // ranks, and how many of them share out the experts
  std::vector<int32_t> prefill_buckets, batch_buckets, eos_ids;
  int32_t bos_id = -1;
  uint64_t weights_bytes = 0, kv_cache_bytes = 0, arena_bytes = 0, tokenizer_bytes = 0;
  [[nodiscard]] uint64_t planned_bytes() const { return weights_bytes + kv_cache_bytes + arena_bytes + tokenizer_bytes; }
};

// Neutral values switch a processor off; temperature 0 is greedy.
struct SamplingParams {
  float temperature = 0.0f;
  float top_p = 1.0f, min_p = 0.0f;
  float repetition_penalty = 1.0f, presence_penalty = 0.0f, frequency_penalty = 0.0f;
  int32_t top_k = 0;
  int32_t num_logprobs = 0;         // at most 20
  uint64_t seed = 0;
};

// The kinds of step an engine has a graph for.
enum class StepKind : uint8_t { kContextEncoding, kTokenGeneration, kSpeculation };

// Tokens of one slot that a step appends at the slot's current length.
struct StepSequence {
  int32_t slot = 0;
  std::span<const int32_t> tokens;
  int32_t outputs = 1;              // the last `outputs` of these tokens get logits and a sampled id, or (at most 1) an embedding; 0: none
  const SamplingParams* sampling = nullptr;  // null: greedy
  // Tokens of the whole prompt that these are a part of, of which chunks may follow; 0: every token stands at the end of its own sequence.
  // Some models rotate all tokens of a prompt by its length (longrope): they need it with the first chunk.
  int32_t prompt_length = 0;
  bool wants_logits = true;         // false: StepOutput::logits stays empty, and ranks that share the vocabulary need not bring them together
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
};
struct StepOutput {
  int32_t slot = 0, position = 0;   // of the token whose successor this is
  int32_t id = 0;                   // what was sampled to follow it
  std::span<const float> logits;    // [vocab], raw, if they were wanted; valid until the next step
  std::span<const float> embedding{};  // [embedding_dim], of the sequence so far: all that a bundle gives that embeds; valid until the next step
  float logprob = 0;                // of id, and the top ones, when num_logprobs > 0
  std::vector<TokenLogprob> top;
};

// What a step costs that has been measured (costs.h): `rows` tokens, of `sequences` with `depth` tokens each before it.
struct StepCost {
  StepKind kind = StepKind::kContextEncoding;
  int32_t sequences = 1, rows = 1, depth = 0;
  double seconds = 0, least = 0, most = 0;   // median, and the spread
};
struct CostTable {
  std::string cpu, isa;             // which machine: the CPU's own name
  int32_t threads = 0;              // of a rank
  std::vector<StepCost> steps;
};

class Engine {
 public:
  // Maps and checks the bundle, allocates KV cache and arena, resolves kernels, starts threads. Throws Error.
  [[nodiscard]] static std::unique_ptr<Engine> Load(const std::filesystem::path& bundle, const EngineOptions& options = {});
  virtual ~Engine() = default;

  [[nodiscard]] virtual const ModelInfo& info() const = 0;
  // A free slot, or nullopt. Its KV cache holds nothing of its former owner.
  [[nodiscard]] virtual std::optional<int32_t> AcquireSlot() = 0;
  virtual void ReleaseSlot(int32_t slot) = 0;
  [[nodiscard]] virtual int32_t length(int32_t slot) const = 0;      // tokens in the slot
  [[nodiscard]] virtual std::span<const int32_t> tokens(int32_t slot) const = 0;
  // Marks how many leading tokens of the slot count as prompt for penalties. Default: all that context encoding appended first.
  virtual void SetPromptLength(int32_t slot, int32_t length) = 0;
  // Drops the tokens from `length` on (rejected proposals, an answer to be written again). Throws Error kInvalidArgument when `length`
  // is above the current length, or neither 0 nor at least shortest_truncation().
  virtual void Truncate(int32_t slot, int32_t length) = 0;
  // How far Truncate can go back short of 0: sliding-window and recurrent layers have forgotten what came before. What the last step
  // appended can always be dropped; where a recurrent state is not kept for the length that is left, the next step computes it again.
  [[nodiscard]] virtual int32_t shortest_truncation(int32_t slot) const = 0;

  // One step on the smallest bucket of `kind` that fits. Throws Error kInvalidArgument: ids outside the vocabulary, context full,
  // more rows or outputs than the largest bucket. On an error no slot changes.
  virtual std::span<const StepOutput> Step(StepKind kind, std::span<const StepSequence> sequences) = 0;
  // A named intermediate value of the last step (bundles exported with keep_probes), [rows, cols] as dense f32; nullopt if unknown.
  struct ProbeValue {
    int64_t rows = 0, cols = 0;
    std::vector<float> values;
  };
  [[nodiscard]] virtual std::optional<ProbeValue> probe(const std::string& name) const = 0;
  [[nodiscard]] virtual int32_t max_rows(StepKind kind) const = 0;     // of the largest bucket
  [[nodiscard]] virtual int32_t max_outputs(StepKind kind) const = 0;
  // Of this machine, instruction set and number of threads, as the bundle had it when it was loaded; nullopt if nobody has stored one.
  [[nodiscard]] virtual const std::optional<CostTable>& costs() const = 0;
};

// Prefill in chunks, then decode one token at a time, for one sequence. The common loop over Engine::Step.
struct GenerateRequest {
  std::vector<int32_t> prompt;
  int32_t max_tokens = 128;
  SamplingParams sampling;
  std::vector<int32_t> stop_ids;        // usually info().eos_ids; empty: none
  int32_t chunk = 0;                    // rows per prefill step; 0: the largest bucket
  bool all_logits = false;              // collect logits of every prompt position and generated token but the last
  std::function<bool(int32_t id)> on_token;  // return false to stop ("cancelled")
  std::function<bool(int32_t done, int32_t total)> on_prefill;  // prompt tokens after each chunk; return false to stop ("cancelled")
  int32_t slot = -1;                    // the caller's slot, kept afterwards: leading tokens that it shares with the prompt are not computed
                                        // again. -1: a free slot, given back
};
struct GenerateResult {
  std::vector<int32_t> ids;             // generated, a final stop id included
  std::string finish_reason;            // "stop", "length" (max_tokens or context), "cancelled"
  std::vector<std::vector<TokenLogprob>> top_logprobs;  // per generated id, when asked for
  std::vector<float> logits;            // [rows, vocab] when all_logits
  int32_t reused_tokens = 0;            // of the prompt, found in the slot
  double prefill_seconds = 0, decode_seconds = 0;
};
// Throws Error kInvalidArgument when the prompt is empty or longer than the context, kResourceExhausted when no slot is free.
GenerateResult Generate(Engine& engine, const GenerateRequest& request);

}  // namespace intaglio
