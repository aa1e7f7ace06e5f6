// The common loop over Engine::Step, for one sequence: the prompt in chunks, then a token at a time.
#include <algorithm>
#include <chrono>

#include "base/fail.h"
#include "intaglio/engine.h"

namespace intaglio {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The request's own slot, or one taken for the request and given back.
class SlotLease {
 public:
  SlotLease(Engine& engine, int32_t slot) : engine_(engine), slot_(slot), is_owned_(slot < 0) {
    if (!is_owned_) return;
    const std::optional<int32_t> free = engine.AcquireSlot();
    Require(free.has_value(), ErrorCode::kResourceExhausted, "all ", engine.info().max_slots,
            " slots are taken: release one, or export with a larger --max-batch");
    slot_ = *free;
  }
  SlotLease(const SlotLease&) = delete;
  SlotLease& operator=(const SlotLease&) = delete;
  ~SlotLease() {
    if (is_owned_) engine_.ReleaseSlot(slot_);
  }
  [[nodiscard]] int32_t slot() const { return slot_; }

 private:
  Engine& engine_;
  int32_t slot_;
  bool is_owned_;
};

void CheckRequest(const Engine& engine, const GenerateRequest& request) {
  constexpr ErrorCode kCode = ErrorCode::kInvalidArgument;
  const ModelInfo& info = engine.info();
  const int64_t prompt = std::ssize(request.prompt);
  Require(info.embedding_dim == 0, ErrorCode::kUnsupported, "the bundle embeds texts and generates none: use intaglio embed, or export the ",
          "checkpoint with --task generate");
  Require(prompt > 0, kCode, "the prompt is empty: it needs at least one token");
  Require(prompt <= info.max_context, kCode, "the prompt has ", prompt, " tokens, but the bundle's context is ", info.max_context,
          ": export with --max-context ", prompt, " or more, or shorten the prompt");
  Require(request.max_tokens >= 0, kCode, "max_tokens is ", request.max_tokens, "; it cannot be negative");
  const int32_t max_chunk = engine.max_rows(StepKind::kContextEncoding);
  Require(request.chunk >= 0 && request.chunk <= max_chunk, kCode, "chunk is ", request.chunk, ", but the bundle's largest prefill bucket is ",
          max_chunk);
}

class Generation {
 public:
  Generation(Engine& engine, const GenerateRequest& request, int32_t slot) : engine_(engine), request_(request), slot_(slot) {
    chunk_ = request.chunk == 0 ? engine.max_rows(StepKind::kContextEncoding) : request.chunk;
    if (request.all_logits) chunk_ = std::min(chunk_, engine.max_outputs(StepKind::kContextEncoding));
  }

  GenerateResult Run() {
    result_.ids.reserve(static_cast<size_t>(std::min<int64_t>(request_.max_tokens, engine_.info().max_context)));
    const Clock::time_point start = Clock::now();
    Prefill();
    result_.prefill_seconds = SecondsSince(start);
    if (result_.finish_reason.empty()) Decode();
    result_.decode_seconds = SecondsSince(start) - result_.prefill_seconds;
    return std::move(result_);
  }

 private:
  void Prefill() {
    const std::span<const int32_t> prompt = request_.prompt;
    KeepCommonPrefix();
    engine_.SetPromptLength(slot_, static_cast<int32_t>(prompt.size()));
    for (size_t done = static_cast<size_t>(result_.reused_tokens); done < prompt.size();) {
      const size_t size = std::min(static_cast<size_t>(chunk_), prompt.size() - done);
      const bool is_last = done + size == prompt.size();
      const int32_t outputs = request_.all_logits ? static_cast<int32_t>(size) : is_last ? 1 : 0;
      Step(StepKind::kContextEncoding, prompt.subspan(done, size), outputs, static_cast<int32_t>(prompt.size()));
      done += size;
      if (request_.on_prefill && !request_.on_prefill(static_cast<int32_t>(done), static_cast<int32_t>(prompt.size()))) {
        result_.finish_reason = "cancelled";
        return;
      }
    }
  }

  // Leaves in the slot what it shares with the prompt and can go on from; at least one token of the prompt is always computed.
  void KeepCommonPrefix() {
    const std::span<const int32_t> held = engine_.tokens(slot_), prompt = request_.prompt;
    int32_t common = 0;
    if (!request_.all_logits) {
      const auto differ = std::mismatch(held.begin(), held.end(), prompt.begin(), prompt.end() - 1);
      common = static_cast<int32_t>(differ.first - held.begin());
      if (common < engine_.shortest_truncation(slot_)) common = 0;
    }
    engine_.Truncate(slot_, common);
    result_.reused_tokens = common;
  }

  void Decode() {
    while (result_.finish_reason.empty()) {
      if (std::ssize(result_.ids) >= request_.max_tokens) {
        result_.finish_reason = "length";
        return;
      }
      const int32_t id = next_.id;
      result_.ids.push_back(id);
      if (request_.sampling.num_logprobs > 0) result_.top_logprobs.push_back(next_.top);
      if (request_.on_token && !request_.on_token(id)) {
        result_.finish_reason = "cancelled";
      } else if (std::find(request_.stop_ids.begin(), request_.stop_ids.end(), id) != request_.stop_ids.end()) {
        result_.finish_reason = "stop";
      } else if (std::ssize(result_.ids) >= request_.max_tokens || engine_.length(slot_) >= engine_.info().max_context) {
        result_.finish_reason = "length";
      } else {
        Step(StepKind::kTokenGeneration, {&id, 1}, /*outputs=*/1);
      }
    }
  }

  // Remembers the last output, and all logits when they are wanted.
  void Step(StepKind kind, std::span<const int32_t> tokens, int32_t outputs, int32_t prompt_length = 0) {
    const StepSequence sequence{.slot = slot_,
                                .tokens = tokens,
                                .outputs = outputs,
                                .sampling = &request_.sampling,
                                .prompt_length = prompt_length,
                                .wants_logits = request_.all_logits};
    for (const StepOutput& output : engine_.Step(kind, {&sequence, 1})) {
      next_.id = output.id;
      next_.top.assign(output.top.begin(), output.top.end());
      if (request_.all_logits) result_.logits.insert(result_.logits.end(), output.logits.begin(), output.logits.end());
    }
  }

  struct Next {
    int32_t id = 0;
    std::vector<TokenLogprob> top;
  };
  Engine& engine_;
  const GenerateRequest& request_;
  int32_t slot_, chunk_ = 0;
  Next next_;
  GenerateResult result_;
};

}  // namespace

GenerateResult Generate(Engine& engine, const GenerateRequest& request) {
  CheckRequest(engine, request);
  const SlotLease lease(engine, request.slot);
  return Generation(engine, request, lease.slot()).Run();
}

}  // namespace intaglio
