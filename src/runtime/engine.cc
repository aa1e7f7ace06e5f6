// Engine over one device: validates a step, moves the slots on, runs the plan, hands out what was sampled.
#include "intaglio/engine.h"

#include <algorithm>
#include <cstring>

#include "base/fail.h"
#include "kernels/params.h"
#include "runtime/batch.h"
#include "runtime/cpu_device.h"
#include "runtime/kv_cache.h"
#include "runtime/plan_check.h"
#include "runtime/probe.h"
#include "runtime/step_check.h"

namespace intaglio {
namespace {

using bundle::Bundle;
using bundle::Plan;
using kernels::sample_params::kLogprobCols;
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

Bundle OpenBundle(const std::filesystem::path& path, bool verify_checksums) {
  Bundle bundle = Bundle::Open(path, verify_checksums);
  const bundle::Manifest& manifest = bundle.manifest;
  Require(manifest.numerics == "portable", ErrorCode::kUnsupported, path.string(), ": the bundle has ", manifest.numerics,
          " numerics; this version computes portable ones: export it again");
  Require(manifest.tp_degree == 1 && manifest.ep_degree == 1, ErrorCode::kUnsupported, path.string(), ": the bundle is for TP ", manifest.tp_degree,
          " x EP ", manifest.ep_degree, "; this version runs one rank: export it again");
  for (Phase phase : {Phase::kContextEncoding, Phase::kTokenGeneration}) {
    Require(runtime::SmallestPlan(bundle.plans, phase, 1, 1).has_value(), ErrorCode::kDataLoss, path.string(), ": the bundle has no plan for ",
            Name(phase));
  }
  runtime::CheckManifest(manifest);
  runtime::CheckPlans(bundle.plans, manifest);
  return bundle;
}

ModelInfo MakeInfo(const bundle::Manifest& manifest, kernels::Isa isa, int num_threads) {
  ModelInfo info;
  info.architecture = manifest.architecture;
  info.source = manifest.source;
  info.numerics = manifest.numerics;
  info.isa = Name(isa);
  info.vocab_size = manifest.vocab_size;
  info.hidden_size = manifest.hidden_size;
  info.num_layers = manifest.num_layers;
  info.max_context = manifest.max_context;
  info.max_slots = manifest.max_slots;
  info.speculation = manifest.speculation;
  info.threads = num_threads;
  info.prefill_buckets = manifest.prefill_buckets;
  info.batch_buckets = manifest.batch_buckets;
  info.eos_ids = manifest.eos_ids;
  info.bos_id = manifest.bos_id;
  info.weights_bytes = manifest.memory.weights;
  info.kv_cache_bytes = manifest.memory.kv_cache;
  info.arena_bytes = manifest.memory.arena;
  info.tokenizer_bytes = manifest.memory.tokenizer;
  return info;
}

class BundleEngine final : public Engine {
 public:
  BundleEngine(Bundle bundle, kernels::Isa isa, int threads)
      : bundle_(std::move(bundle)),
        kv_(bundle_.manifest.max_slots, bundle_.manifest.max_context, MaxTokensOfASequence(bundle_), bundle_.manifest.kv_groups),
        history_(bundle_.manifest.max_slots, bundle_.manifest.max_context),
        batch_(MaxRows(bundle_.plans), MaxOutputs(bundle_.plans)),
        device_(std::make_unique<runtime::CpuDevice>(bundle_, isa, threads)),
        info_(MakeInfo(bundle_.manifest, isa, device_->num_threads())),
        is_in_step_(static_cast<size_t>(info_.max_slots)),
        outputs_(static_cast<size_t>(MaxOutputs(bundle_.plans))) {
    for (StepOutput& output : outputs_) output.top.reserve(kMaxLogprobs);
  }

  const ModelInfo& info() const override { return info_; }

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
            " tokens: its sliding-window layers only reach back to ", shortest, "; truncate to 0 and encode the prompt again");
    kv_.Truncate(slot, length);
    if (length == 0) history_.Reset(slot);
  }
  int32_t shortest_truncation(int32_t slot) const override {
    RequireSlot(slot);
    return kv_.shortest_truncation(slot);
  }

  std::span<const StepOutput> Step(StepKind kind, std::span<const StepSequence> sequences) override {
    const size_t plan = CheckStep(kind, sequences);
    batch_.Clear();
    for (const StepSequence& sequence : sequences) Append(kind, sequence);
    kernels::StepView view = batch_.view();
    view.block_tables = kv_.block_tables();
    view.max_blocks = kv_.max_blocks();
    device_->Run(plan, view);
    last_plan_ = plan;
    for (int32_t i = 0; i < view.num_outputs; ++i) ReadOutput(bundle_.plans[plan], i);
    return std::span(outputs_).first(static_cast<size_t>(view.num_outputs));
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

  // The plan for this step, or an Error; changes nothing.
  size_t CheckStep(StepKind kind, std::span<const StepSequence> sequences) {
    const Phase phase = PhaseOf(kind);
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
    return *plan;
  }

  void Append(StepKind kind, const StepSequence& sequence) {
    const int32_t position = kv_.length(sequence.slot);
    if (kind != StepKind::kContextEncoding) history_.EndPrompt(sequence.slot, position);
    history_.Write(sequence.slot, position, sequence.tokens);
    kv_.Append(sequence.slot, static_cast<int32_t>(sequence.tokens.size()));
    batch_.Add(sequence, position, history_);
  }

  // Row `row` of an operand that CheckPlans found to be dense.
  [[nodiscard]] const std::byte* Row(const bundle::Operand& operand, int32_t row) const {
    return device_->Read(operand).data() + static_cast<size_t>(row * operand.stride) * SizeOf(operand.dtype);
  }

  void ReadOutput(const Plan& plan, int32_t i) {
    StepOutput& output = outputs_[static_cast<size_t>(i)];
    output.slot = batch_.output_slot(i);
    output.position = batch_.output_position(i);
    std::memcpy(&output.id, Row(plan.ids, i), sizeof output.id);
    output.logits = {reinterpret_cast<const float*>(Row(plan.logits, i)), static_cast<size_t>(info_.vocab_size)};
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
  runtime::Batch batch_;
  std::unique_ptr<runtime::Device> device_;  // refers to bundle_
  ModelInfo info_;
  std::vector<uint8_t> is_in_step_;          // per slot, while a step is checked
  std::vector<StepOutput> outputs_;
  std::optional<size_t> last_plan_;
};

}  // namespace

std::unique_ptr<Engine> Engine::Load(const std::filesystem::path& bundle, const EngineOptions& options) {
  const kernels::Isa isa = options.isa.empty() ? kernels::IsaFromEnvironment() : kernels::ChooseIsa(options.isa);
  return std::make_unique<BundleEngine>(OpenBundle(bundle, options.verify_checksums), isa, options.threads);
}

}  // namespace intaglio
