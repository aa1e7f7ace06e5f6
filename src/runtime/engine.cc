// Engine over one device: validates a step, moves the slots on, runs the plan, hands out what was sampled.
#include "intaglio/engine.h"

#include <algorithm>
#include <cstring>

#include "base/cpus.h"
#include "base/fail.h"
#include "bundle/costs.h"
#include "kernels/params.h"
#include "runtime/batch.h"
#include "runtime/kv_cache.h"
#include "runtime/make_device.h"
#include "runtime/plan_check.h"
#include "runtime/probe.h"
#include "runtime/rope_rows.h"
#include "runtime/step_check.h"

namespace intaglio {
namespace {

using bundle::Bundle;
using bundle::Plan;
using kernels::sample_params::kMaxLogprobs;

Phase PhaseOf(StepKind kind) {
  switch (kind) {
    case StepKind::kContextEncoding:
      return Phase::kContextEncoding;
    case StepKind::kTokenGeneration:
      return Phase::kTokenGeneration;
    case StepKind::kSpeculation:
      return Phase::kSpeculation;
  }
  return Phase::kContextEncoding;
}

int32_t MaxRows(std::span<const Plan> plans) {
  return std::max_element(plans.begin(), plans.end(), [](const Plan& a, const Plan& b) { return a.rows < b.rows; })->rows;
}

int32_t MaxOutputs(std::span<const Plan> plans) {
  return std::max_element(plans.begin(), plans.end(), [](const Plan& a, const Plan& b) { return a.outputs < b.outputs; })->outputs;
}

// The most tokens that one step may append to one slot.
int32_t MaxTokensOfASequence(const Bundle& bundle) {
  int32_t tokens = bundle.manifest.speculation + 1;
  for (const Plan& plan : bundle.plans) tokens = plan.phase == Phase::kContextEncoding ? std::max(tokens, plan.rows) : tokens;
  return tokens;
}

// A bundle that did not compute what Transformers does is served only on request.
void RequireParity(const std::filesystem::path& path, const bundle::Manifest& manifest) {
  if (!manifest.parity || manifest.parity->is_ok) return;
  std::vector<std::string> failed;
  for (const GateCheck& check : manifest.parity->checks) {
    if (!check.is_ok) failed.push_back(StrCat(check.kind, " (", check.worst, ", allowed ", check.tolerance, ')'));
  }
  Fail(ErrorCode::kUnsupported, path.string(), ": failed its parity gate against ", manifest.parity->capture, " at export: ", Join(failed),
       "; --allow-failed-parity loads it all the same");
}

Bundle OpenBundle(const std::filesystem::path& path, const EngineOptions& options) {
  Bundle bundle = Bundle::Open(path, options.verify_checksums, /*rank=*/0, /*stop=*/{}, KnownHashes(options.cache));
  const bundle::Manifest& manifest = bundle.manifest;
  if (!options.allow_failed_parity) RequireParity(path, manifest);
  Require(manifest.numerics == "portable", ErrorCode::kUnsupported, path.string(), ": the bundle has ", manifest.numerics,
          " numerics; this version computes portable ones: export it again");
  for (Phase phase : {Phase::kContextEncoding, Phase::kTokenGeneration}) {
    if (manifest.embedding && phase == Phase::kTokenGeneration) continue;
    Require(runtime::SmallestPlan(bundle.plans, phase, 1, 1).has_value(), ErrorCode::kDataLoss, path.string(), ": the bundle has no plan for ",
            Name(phase));
  }
  runtime::CheckManifest(manifest);
  runtime::CheckPlans(bundle.plans, manifest);
  return bundle;
}

// What the ranks of a bundle hold together.
bundle::MemoryPlan TotalMemory(const bundle::Manifest& manifest) {
  if (manifest.ranks.empty()) return manifest.memory;
  bundle::MemoryPlan total;
  for (const bundle::RankEntry& rank : manifest.ranks) total += rank.memory;
  return total;
}

ModelInfo MakeInfo(const bundle::Manifest& manifest, kernels::Isa isa, int num_threads) {
  ModelInfo info;
  info.architecture = manifest.architecture;
  info.source = manifest.source;
  info.numerics = manifest.numerics;
  info.weight_dtype = manifest.weight_format;
  info.isa = Name(isa);
  info.vocab_size = manifest.vocab_size;
  info.hidden_size = manifest.hidden_size;
  info.num_layers = manifest.num_layers;
  info.max_context = manifest.max_context;
  info.embedding_dim = manifest.embedding ? manifest.embedding->dim : 0;
  info.is_recurrent = !manifest.states.empty();
  info.needs_whole_sequences = manifest.embedding && manifest.embedding->needs_whole_sequences;
  info.max_slots = manifest.max_slots;
  info.speculation = manifest.speculation;
  info.threads = num_threads;
  info.prefill_buckets = manifest.prefill_buckets;
  info.batch_buckets = manifest.batch_buckets;
  info.eos_ids = manifest.eos_ids;
  info.bos_id = manifest.bos_id;
  info.tp_degree = manifest.tp_degree;
  info.ep_degree = manifest.ep_degree;
  const bundle::MemoryPlan memory = TotalMemory(manifest);
  info.weights_bytes = memory.weights;
  info.kv_cache_bytes = memory.kv_cache;
  info.arena_bytes = memory.arena;
  info.tokenizer_bytes = memory.tokenizer;
  return info;
}

class BundleEngine final : public Engine {
 public:
  BundleEngine(Bundle bundle, kernels::Isa isa, const EngineOptions& options)
      : bundle_(std::move(bundle)),
        kv_(bundle_.manifest.max_slots, bundle_.manifest.max_context, MaxTokensOfASequence(bundle_), bundle_.manifest.kv_groups,
            runtime::StateEntries(bundle_.manifest)),
        history_(bundle_.manifest.max_slots, bundle_.manifest.max_context),
        rope_rows_(bundle_.manifest),
        batch_(MaxRows(bundle_.plans), MaxOutputs(bundle_.plans)),
        device_(runtime::MakeDevice(bundle_, isa, options)),
        info_(MakeInfo(bundle_.manifest, isa, device_->num_threads())),
        costs_(bundle::FindCosts(bundle_.path, CpuModel(), info_.isa, info_.threads)),
        is_in_step_(static_cast<size_t>(info_.max_slots)),
        outputs_(static_cast<size_t>(MaxOutputs(bundle_.plans))) {
    for (StepOutput& output : outputs_) output.top.reserve(kMaxLogprobs);
    for (std::vector<Part>* parts : {&parts_, &later_parts_}) parts->reserve(is_in_step_.size());
    if (rope_rows_.can_switch()) kept_values_.resize(outputs_.size() * OutputColumns());
  }

  const ModelInfo& info() const override { return info_; }
  const std::optional<CostTable>& costs() const override { return costs_; }

  std::optional<int32_t> AcquireSlot() override {
    const std::optional<int32_t> slot = kv_.Acquire();
    if (slot) history_.Reset(*slot);
    return slot;
  }
  void ReleaseSlot(int32_t slot) override {
    RequireSlot(slot);
    kv_.Release(slot);
  }
  int32_t length(int32_t slot) const override {
    RequireSlot(slot);
    return kv_.length(slot);
  }
  std::span<const int32_t> tokens(int32_t slot) const override { return {history_.data(slot), static_cast<size_t>(length(slot))}; }

  void SetPromptLength(int32_t slot, int32_t length) override {
    RequireSlot(slot);
    Require(length >= 0 && length <= info_.max_context, ErrorCode::kInvalidArgument, "slot ", slot, " cannot have a prompt of ", length,
            " tokens; the bundle's context is ", info_.max_context);
    history_.SetPrompt(slot, length);
  }

  void Truncate(int32_t slot, int32_t length) override {
    const int32_t current = this->length(slot), shortest = kv_.shortest_truncation(slot);
    Require(length >= 0 && length <= current, ErrorCode::kInvalidArgument, "slot ", slot, " has ", current, " tokens and cannot be truncated to ",
            length);
    Require(length == 0 || length >= shortest, ErrorCode::kInvalidArgument, "slot ", slot, " cannot be truncated to ", length,
            " tokens: its sliding-window or recurrent layers only reach back to ", shortest, "; truncate to 0 and encode the prompt again");
    kv_.Truncate(slot, length);
    if (length == 0) history_.Reset(slot);
  }
  int32_t shortest_truncation(int32_t slot) const override {
    RequireSlot(slot);
    return kv_.shortest_truncation(slot);
  }

  std::span<const StepOutput> Step(StepKind kind, std::span<const StepSequence> sequences) override {
    CheckStep(kind, sequences);
    const int32_t num_outputs = CutIntoParts(sequences);
    RunParts(kind, parts_);
    if (!later_parts_.empty()) {
      KeepValues();
      RunParts(kind, later_parts_);
    }
    return std::span(outputs_).first(static_cast<size_t>(num_outputs));
  }

  std::optional<ProbeValue> probe(const std::string& name) const override {
    if (!last_plan_) return std::nullopt;
    const Plan& plan = bundle_.plans[*last_plan_];
    const auto probe = std::find_if(plan.probes.begin(), plan.probes.end(), [&](const bundle::Probe& p) { return p.name == name; });
    if (probe == plan.probes.end()) return std::nullopt;
    return runtime::ReadProbe(*device_, plan, probe->operand, batch_.view());
  }

  int32_t max_rows(StepKind kind) const override {
    int32_t rows = 0;
    for (const Plan& plan : bundle_.plans) rows = plan.phase == PhaseOf(kind) ? std::max(rows, plan.rows) : rows;
    return rows;
  }
  int32_t max_outputs(StepKind kind) const override {
    int32_t outputs = 0;
    for (const Plan& plan : bundle_.plans) outputs = plan.phase == PhaseOf(kind) ? std::max(outputs, plan.outputs) : outputs;
    return outputs;
  }

 private:
  void RequireSlot(int32_t slot) const {
    Require(kv_.is_acquired(slot), ErrorCode::kInvalidArgument, "slot ", slot, " is not one that AcquireSlot gave; the bundle has ", info_.max_slots);
  }

  // Tokens of a sequence that are rotated alike, and where their outputs go.
  struct Part {
    StepSequence sequence;
    int32_t first_output = 0;
  };

  // An Error if the step cannot be; changes nothing.
  void CheckStep(StepKind kind, std::span<const StepSequence> sequences) {
    const Phase phase = PhaseOf(kind);
    Require(info_.embedding_dim == 0 || phase == Phase::kContextEncoding, ErrorCode::kUnsupported, "the bundle embeds texts and has no graph for ",
            Name(phase), ": use intaglio embed, or export the checkpoint with --task generate");
    Require(max_rows(kind) > 0, ErrorCode::kUnsupported, "the bundle has no graph for ", Name(phase), ": export it with --speculation K");
    Require(!sequences.empty(), ErrorCode::kInvalidArgument, "a step needs at least one sequence");
    std::fill(is_in_step_.begin(), is_in_step_.end(), uint8_t{0});
    int64_t rows = 0, outputs = 0;
    for (const StepSequence& sequence : sequences) {
      RequireSlot(sequence.slot);
      Require(is_in_step_[static_cast<size_t>(sequence.slot)] == 0, ErrorCode::kInvalidArgument, "slot ", sequence.slot, " appears twice in a step");
      is_in_step_[static_cast<size_t>(sequence.slot)] = 1;
      runtime::CheckSequence(sequence, kv_.length(sequence.slot), phase, info_);
      rows += std::ssize(sequence.tokens);
      outputs += sequence.outputs;
    }
    Require(rows <= max_rows(kind) && outputs <= max_outputs(kind), ErrorCode::kInvalidArgument, "a step of ", rows, " rows and ", outputs,
            " outputs is more than the largest ", Name(phase), " graph takes (", max_rows(kind), " rows, ", max_outputs(kind), " outputs)");
    const auto plan = runtime::SmallestPlan(bundle_.plans, phase, static_cast<int32_t>(rows), static_cast<int32_t>(outputs));
    Require(plan.has_value(), ErrorCode::kInvalidArgument, "no ", Name(phase), " graph takes ", rows, " rows with ", outputs, " outputs");
  }

  // Into parts_, and later_parts_ for what a sequence has past the switch of its rotation. Returns the number of outputs.
  int32_t CutIntoParts(std::span<const StepSequence> sequences) {
    parts_.clear(), later_parts_.clear();
    int32_t num_outputs = 0;
    for (const StepSequence& sequence : sequences) {
      const int32_t num_short = rope_rows_.num_short(sequence, kv_.length(sequence.slot));
      const auto num_later = num_short == 0 ? 0 : static_cast<int32_t>(sequence.tokens.size()) - num_short;
      const int32_t later_outputs = std::min(sequence.outputs, num_later);
      Part part{.sequence = sequence, .first_output = num_outputs}, later = part;
      part.sequence.tokens = sequence.tokens.first(sequence.tokens.size() - static_cast<size_t>(num_later));
      part.sequence.outputs -= later_outputs;
      parts_.push_back(part);
      later.sequence.tokens = sequence.tokens.last(static_cast<size_t>(num_later));
      later.sequence.outputs = later_outputs;
      later.first_output += part.sequence.outputs;
      if (num_later > 0) later_parts_.push_back(later);
      num_outputs += sequence.outputs;
    }
    return num_outputs;
  }

  void RunParts(StepKind kind, std::span<const Part> parts) {
    for (const Part& part : parts) RestoreSlot(part.sequence);
    batch_.Clear();
    for (const Part& part : parts) Append(kind, part.sequence);
    RunBatch(PhaseOf(kind));
    int32_t row = 0;
    for (const Part& part : parts) {
      for (int32_t i = 0; i < part.sequence.outputs; ++i)
        ReadOutput(row++, part.sequence.wants_logits || info_.embedding_dim != 0,
                   outputs_[static_cast<size_t>(part.first_output) + static_cast<size_t>(i)]);
    }
  }

  void RunBatch(Phase phase) {
    kernels::StepView view = batch_.view();
    view.block_tables = kv_.block_tables();
    view.max_blocks = kv_.max_blocks();
    last_plan_ = runtime::SmallestPlan(bundle_.plans, phase, view.num_rows, view.num_outputs);
    device_->Run(*last_plan_, view);
  }

  // What the slot holds is rotated as the sequence's tokens will be, and its recurrent state is that of its last token; computed again if
  // either is not so.
  void RestoreSlot(const StepSequence& sequence) {
    const int32_t slot = sequence.slot, length = kv_.length(slot);
    const bool is_long = rope_rows_.num_short(sequence, length) == 0;
    const bool is_stale = kv_.has_lost_state(slot) || (length > 0 && rope_rows_.is_long(slot) != is_long);
    rope_rows_.Set(slot, is_long);
    if (!is_stale) return;
    const std::span<const int32_t> held(history_.data(slot), static_cast<size_t>(length));
    const auto chunk = static_cast<size_t>(max_rows(StepKind::kContextEncoding));
    kv_.Truncate(slot, 0);
    for (size_t begin = 0; begin < held.size(); begin += chunk) {
      const StepSequence again{.slot = slot, .tokens = held.subspan(begin, std::min(chunk, held.size() - begin)), .outputs = 0, .sampling = nullptr};
      batch_.Clear();
      AddRows(again);
      RunBatch(Phase::kContextEncoding);
    }
  }

  // Numbers that an output has: logits, or an embedding.
  [[nodiscard]] size_t OutputColumns() const { return static_cast<size_t>(info_.embedding_dim == 0 ? info_.vocab_size : info_.embedding_dim); }
  [[nodiscard]] std::span<const float>& ValuesOf(StepOutput& output) const { return info_.embedding_dim == 0 ? output.logits : output.embedding; }

  // The logits (or embeddings) that were read so far stay, whatever runs next.
  void KeepValues() {
    for (const Part& part : parts_) {
      for (int32_t i = 0; i < part.sequence.outputs; ++i) {
        const size_t index = static_cast<size_t>(part.first_output) + static_cast<size_t>(i);
        const auto kept = std::span(kept_values_).subspan(index * OutputColumns(), OutputColumns());
        std::span<const float>& values = ValuesOf(outputs_[index]);
        std::copy(values.begin(), values.end(), kept.begin());
        values = kept.first(values.size());
      }
    }
  }

  void Append(StepKind kind, const StepSequence& sequence) {
    const int32_t position = kv_.length(sequence.slot);
    if (kind != StepKind::kContextEncoding) history_.EndPrompt(sequence.slot, position);
    history_.Write(sequence.slot, position, sequence.tokens);
    AddRows(sequence);
  }

  void AddRows(const StepSequence& sequence) {
    const int32_t position = kv_.length(sequence.slot);
    kv_.Append(sequence.slot, static_cast<int32_t>(sequence.tokens.size()));
    batch_.Add(sequence, position, history_, rope_rows_);
  }

  // Row `row` of an operand that CheckPlans found to be dense.
  [[nodiscard]] const std::byte* Row(const bundle::Operand& operand, int32_t row) const {
    return device_->Read(operand).data() + static_cast<size_t>(row * operand.stride) * SizeOf(operand.dtype);
  }

  // Output number i of the last run.
  void ReadOutput(int32_t i, bool is_wanted, StepOutput& output) {
    const Plan& plan = bundle_.plans[*last_plan_];
    output.slot = batch_.output_slot(i);
    output.position = batch_.output_position(i);
    ValuesOf(output) = is_wanted ? device_->Result(*last_plan_, i) : std::span<const float>();
    if (info_.embedding_dim != 0) return;
    std::memcpy(&output.id, Row(plan.ids, i), sizeof output.id);
    output.logprob = 0;
    output.top.resize(static_cast<size_t>(batch_.num_logprobs(i)));  // within the reserved capacity
    if (output.top.empty()) return;
    const std::byte* row = Row(plan.logprobs, i);  // [1 + ids + values], kernels/params.h
    std::memcpy(&output.logprob, row, sizeof output.logprob);
    for (size_t n = 0; n < output.top.size(); ++n) {
      std::memcpy(&output.top[n].id, row + (1 + n) * sizeof(int32_t), sizeof(int32_t));
      std::memcpy(&output.top[n].logprob, row + (1 + kMaxLogprobs + n) * sizeof(float), sizeof(float));
    }
  }

  Bundle bundle_;
  runtime::KvCacheManager kv_;
  runtime::TokenHistory history_;
  runtime::RopeRows rope_rows_;
  runtime::Batch batch_;
  std::unique_ptr<runtime::Device> device_;  // refers to bundle_
  ModelInfo info_;
  std::optional<CostTable> costs_;
  std::vector<uint8_t> is_in_step_;          // per slot, while a step is checked
  std::vector<StepOutput> outputs_;
  std::vector<Part> parts_, later_parts_;    // of the step under way
  std::vector<float> kept_values_;           // [outputs, OutputColumns()], where rotations switch
  std::optional<size_t> last_plan_;
};

}  // namespace

std::unique_ptr<Engine> Engine::Load(const std::filesystem::path& bundle, const EngineOptions& options) {
  const kernels::Isa isa = options.isa.empty() ? kernels::IsaFromEnvironment() : kernels::ChooseIsa(options.isa);
  return std::make_unique<BundleEngine>(OpenBundle(bundle, options), isa, options);
}

}  // namespace intaglio
