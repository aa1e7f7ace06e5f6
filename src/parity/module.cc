// BuildModule and ValidateAccuracy: one module through the compiler, the kernels and the device, held against golden tensors.
#include <cmath>
#include <utility>

#include "base/fail.h"
#include "base/output_file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/hf_config.h"
#include "checkpoint/safetensors.h"
#include "compiler/lower_cpu.h"
#include "compiler/pipeline.h"
#include "compiler/weight_formats.h"
#include "compiler/weight_packer.h"
#include "intaglio/parity.h"
#include "kernels/isa.h"
#include "models/decoder.h"
#include "parity/golden.h"
#include "parity/module_graph.h"
#include "parity/temporary_directory.h"
#include "parity/worst_element.h"
#include "runtime/batch.h"
#include "runtime/cpu_device.h"
#include "runtime/kv_cache.h"
#include "runtime/plan_check.h"
#include "runtime/probe.h"
#include "runtime/rope_rows.h"

namespace intaglio {
namespace {

using checkpoint::Checkpoint;
using compiler::WeightLayout;
using graph::Graph;
using parity::ModuleEnds;

DType ParseDType(const std::string& name) {
  Require(name == "f32" || name == "bf16", ErrorCode::kInvalidArgument, "module: weights of type \"", name, "\"; f32 and bf16 are supported");
  return name == "f32" ? DType::kF32 : DType::kBF16;
}

MappedFile PackToMemory(const WeightLayout& layout, const Checkpoint& checkpoint) {
  const parity::TemporaryDirectory directory;   // a mapping outlives its file's name
  const std::filesystem::path path = directory.path() / bundle::WeightsFile(0);
  ThreadPool pool(0);
  OutputFile file(path);
  PackWeights(layout, {.checkpoint = checkpoint, .pool = pool, .on_progress = [](uint64_t) {}}, file);
  file.Commit();
  return MappedFile(path);
}

// The module as a bundle of one plan that was never written: one slot, steps of graph.rows rows.
bundle::Bundle Compile(const Graph& graph, const Checkpoint& checkpoint, DType dtype) {
  const WeightLayout weights = compiler::PlaceWeights({&graph, 1});
  const compiler::KvLayout kv = compiler::PlaceKvCache(graph, {.max_context = graph.max_context, .max_slots = 1, .largest_step = graph.rows});
  bundle::Bundle bundle;
  bundle.manifest.weight_format = Name(dtype);
  bundle.manifest.vocab_size = graph.value(graph.logits).shape[1];
  bundle.manifest.max_context = graph.max_context;
  bundle.manifest.max_slots = 1;
  bundle.manifest.rope_switch = graph.rope_switch, bundle.manifest.rope_follows_length = graph.rope_follows_length;
  bundle.manifest.kv_groups = kv.groups;
  bundle.manifest.kv_layers = kv.layers;
  bundle.manifest.states = kv.states;
  bundle.manifest.memory = {.weights = weights.file_bytes, .kv_cache = kv.pool_bytes};
  bundle.plans.push_back(compiler::LowerToCpu(graph, {.weights = weights, .kv = kv, .keep_probes = true}));
  bundle.weights = PackToMemory(weights, checkpoint);
  runtime::CheckManifest(bundle.manifest);
  runtime::CheckPlans(bundle.plans, bundle.manifest);
  return bundle;
}

class CompiledModule final : public Module {
 public:
  CompiledModule(ModuleEnds ends, bundle::Bundle bundle, const ModuleSpec& spec)
      : ends_(std::move(ends)),
        bundle_(std::move(bundle)),
        plan_(bundle_.plans.front()),
        input_(plan_.probes.front().operand),
        kv_(1, bundle_.manifest.max_context, plan_.rows, bundle_.manifest.kv_groups, runtime::StateEntries(bundle_.manifest)),
        history_(1, bundle_.manifest.max_context),
        rope_rows_(bundle_.manifest),
        batch_(plan_.rows, plan_.outputs),
        device_(bundle_, spec.isa.empty() ? kernels::IsaFromEnvironment() : kernels::ChooseIsa(spec.isa), {.num_threads = spec.threads}),
        tokens_(static_cast<size_t>(plan_.rows)) {}

  [[nodiscard]] const std::string& from() const override { return ends_.from; }
  [[nodiscard]] const std::string& to() const override { return ends_.to; }
  [[nodiscard]] int64_t input_cols() const override { return input_.cols; }
  [[nodiscard]] int64_t output_cols() const override { return plan_.logits.cols; }

  [[nodiscard]] std::vector<float> Run(std::span<const float> input) override {
    const auto cols = static_cast<size_t>(input_.cols), num_tokens = input.size() / cols;
    Require(!input.empty() && input.size() % cols == 0 && std::cmp_less_equal(num_tokens, bundle_.manifest.max_context), ErrorCode::kInvalidArgument,
            "module: an input of ", input.size(), " elements is not 1 to ", bundle_.manifest.max_context, " tokens of ", cols);
    const int32_t slot = kv_.Acquire().value();
    history_.Reset(slot);
    std::vector<float> output;
    for (size_t begin = 0; begin < num_tokens; begin += tokens_.size()) {
      const size_t count = std::min(tokens_.size(), num_tokens - begin);
      const std::vector<float> rows = Step({.slot = slot,
                                            .tokens = std::span(tokens_).first(count),
                                            .outputs = static_cast<int32_t>(count),
                                            .prompt_length = static_cast<int32_t>(num_tokens)},
                                           input.subspan(begin * cols, count * cols));
      output.insert(output.end(), rows.begin(), rows.end());
    }
    kv_.Release(slot);
    return output;
  }

 private:
  std::vector<float> Step(const StepSequence& sequence, std::span<const float> input) {
    const int32_t position = kv_.length(sequence.slot);
    if (position == 0) rope_rows_.Set(sequence.slot, rope_rows_.num_short(sequence, position) == 0);
    history_.Write(sequence.slot, position, sequence.tokens);
    kv_.Append(sequence.slot, static_cast<int32_t>(sequence.tokens.size()));
    batch_.Clear();
    batch_.Add(sequence, position, history_, rope_rows_);
    kernels::StepView view = batch_.view();
    view.block_tables = kv_.block_tables();
    view.max_blocks = kv_.max_blocks();
    device_.Write(input_, input);
    device_.Run(/*plan=*/0, view);
    return runtime::ReadProbe(device_, plan_, plan_.logits, view).value().values;
  }

  const ModuleEnds ends_;
  const bundle::Bundle bundle_;
  const bundle::Plan& plan_;
  const bundle::Operand input_;
  runtime::KvCacheManager kv_;
  runtime::TokenHistory history_;
  runtime::RopeRows rope_rows_;
  runtime::Batch batch_;
  runtime::CpuDevice device_;
  const std::vector<int32_t> tokens_;   // of one step; a module looks at none
};

}  // namespace

std::unique_ptr<Module> BuildModule(const ModuleSpec& spec) {
  const auto checkpoint = Checkpoint::Open(spec.checkpoint);
  const bool is_file = spec.checkpoint.extension() == ".gguf";
  const auto config = checkpoint::HfConfig::Parse(checkpoint->config_json(), (is_file ? spec.checkpoint : spec.checkpoint / "config.json").string());
  const auto model = models::ParseModel(config);
  Require(spec.layer >= 0 && spec.layer < model->num_layers(), ErrorCode::kInvalidArgument, "module: layer ", spec.layer, " of a model with ",
          model->num_layers(), " layers");
  Require(spec.max_tokens >= 1 && spec.rows >= 1, ErrorCode::kInvalidArgument, "module: ", spec.max_tokens, " tokens in steps of ", spec.rows);
  const int64_t max_tokens = std::min(spec.max_tokens, model->max_position()), rows = std::min<int64_t>(spec.rows, max_tokens);
  const ModuleEnds ends = parity::EndsOf(spec.kind, spec.layer, model->num_layers());
  Graph graph = parity::CutModule(model->Build({.phase = Phase::kContextEncoding, .rows = rows, .outputs = rows, .max_context = max_tokens,
                                                   .formats = compiler::EveryMatrixAs(ParseDType(spec.dtype))}),
                                     ends);
  compiler::RunPipeline(graph, {.keep_probes = true});
  compiler::CheckSources(graph, *checkpoint);
  return std::make_unique<CompiledModule>(ends, Compile(graph, *checkpoint, ParseDType(spec.dtype)), spec);
}

ParityCheck ValidateAccuracy(Module& module, std::span<const float> input, std::span<const float> golden, double tolerance) {
  ParityCheck check{.name = StrCat(module.from(), " -> ", module.to()), .worst = INFINITY, .tolerance = tolerance, .where = {}, .is_ok = false};
  const std::vector<float> output = module.Run(input);
  if (output.size() != golden.size()) {
    check.where = StrCat(output.size(), " elements instead of ", golden.size());
    return check;
  }
  const parity::WorstElement worst = parity::FindWorst(output, golden);
  check.worst = worst.error;
  check.tolerance = tolerance * worst.largest;
  check.where = parity::Where(worst, module.output_cols());
  check.is_ok = check.worst <= check.tolerance;
  return check;
}

ParityCheck ValidateAccuracy(Module& module, const std::filesystem::path& capture, double tolerance) {
  const std::string prompt = StrCat('p', parity::ReadGolden(capture).probed_prompt, '.');
  const auto tensors = checkpoint::SafetensorsFile::Open(capture / "golden.safetensors");
  const auto read = [&](const std::string& value) { return parity::ToF32(tensors, StrCat(prompt, value)); };
  return ValidateAccuracy(module, read(module.from()), read(module.to()), tolerance);
}

}  // namespace intaglio
