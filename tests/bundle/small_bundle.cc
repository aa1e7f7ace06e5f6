#include "tests/bundle/small_bundle.h"

namespace intaglio::bundle {
namespace {

Operand F32(Space space, uint64_t offset, int64_t rows, int64_t cols) {
  return {.space = space,
          .dtype = DType::kF32,
          .offset = offset,
          .bytes = static_cast<uint64_t>(rows * cols) * 4,
          .rows = rows,
          .cols = cols,
          .stride = cols};
}

Plan MakePlan(Phase phase, int32_t rows) {
  Plan plan{
      .phase = phase, .rows = rows, .outputs = 2, .arena_bytes = kArenaBytes, .logits = {}, .ids = {}, .logprobs = {}, .calls = {}, .probes = {}};
  plan.logits = F32(Space::kArena, 0, 2, 16);
  plan.ids = {.space = Space::kArena, .dtype = DType::kI32, .offset = 128, .bytes = 128, .rows = 2, .cols = 1, .stride = 16};
  plan.logprobs = F32(Space::kArena, 256, 2, 48);
  const Operand x = F32(Space::kArena, 640, 2, 16);
  Call matmul{.kernel = "matmul_f32",
              .label = "lm_head",
              .operands = {plan.logits, x, F32(Space::kWeights, 64, 16, 16), Operand{}},
              .ints = {},
              .floats = {}};
  matmul.ints[8] = 16;
  matmul.ints[15] = 1;
  Call write{.kernel = "kv_write", .label = "layers.0.self_attn", .operands = {F32(Space::kKvCache, 0, 2, 256), x, x}, .ints = {}, .floats = {}};
  write.floats = {0.25f, -1.5f, 0.0f, 3.0f};
  plan.calls = {matmul, write};
  plan.probes = {{.name = "hidden", .operand = x}};
  return plan;
}

}  // namespace

SmallBundle MakeSmallBundle() {
  SmallBundle bundle;
  Manifest& m = bundle.manifest;
  m.compiler_version = "0.1.0";
  m.architecture = "LlamaForCausalLM", m.model_type = "llama";
  m.source = "llama-tiny", m.source_hash = "0123";
  m.vocab_size = 16, m.hidden_size = 16, m.num_layers = 1, m.max_context = 64;
  m.max_slots = 2, m.speculation = 0;
  m.prefill_buckets = {4}, m.batch_buckets = {2};
  m.eos_ids = {1, 6}, m.bos_id = 2;
  m.kv_groups = {{.window = 16, .blocks_per_slot = 1}};
  m.kv_layers = {{.group = 0, .kv_heads = 1, .head_dim = 2, .offset = 0, .bytes = kKvBytes}};
  m.memory = {.weights = kWeightsBytes, .kv_cache = kKvBytes, .arena = kArenaBytes, .tokenizer = 12};
  m.weights = {{.name = "lm_head.weight", .layout = "matmul", .dtype = DType::kF32, .shape = {16, 16}, .offset = 64, .bytes = 1024}};
  bundle.plans = {MakePlan(Phase::kContextEncoding, 4), MakePlan(Phase::kTokenGeneration, 2)};
  return bundle;
}

void WriteBundle(const SmallBundle& bundle, const std::filesystem::path& path, bool force, const BundleWriter::Gate& gate) {
  BundleWriter writer(path, force);
  writer.AddFile(PlanFile(0, 1), SerializePlans(bundle.plans));
  writer.AddFile(WeightsFile(0), std::vector<std::byte>(kWeightsBytes));
  writer.AddFile("tokenizer.json", std::vector<std::byte>(2, std::byte{'x'}));
  writer.Commit(bundle.manifest, gate);
}

}  // namespace intaglio::bundle
