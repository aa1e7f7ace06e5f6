#include "runtime/plan_check.h"

#include <gtest/gtest.h>

#include "intaglio/error.h"
#include "kernels/kv_layout.h"
#include "kernels/pack.h"
#include "kernels/params.h"

namespace intaglio::runtime {
namespace {

using bundle::Operand;
using bundle::Space;

constexpr int64_t kVocab = 100, kContext = 128, kHeads = 2, kDim = 16, kBlocks = 4;
constexpr uint64_t kCacheBytes = kBlocks * kernels::KvBlockBytes(kHeads, {kDim, kDim});

Operand F32(Space space, int64_t rows, int64_t cols) {
  return {
      .space = space, .dtype = DType::kF32, .offset = 0, .bytes = static_cast<uint64_t>(rows * cols) * 4, .rows = rows, .cols = cols, .stride = cols};
}

// A packed weight, with its rows padded to whole blocks.
Operand Packed(int64_t rows, int64_t cols) {
  Operand weight = F32(Space::kWeights, rows, cols);
  weight.bytes = static_cast<uint64_t>(kernels::PackedBytes(rows, cols, DType::kF32));
  return weight;
}

bundle::Manifest MakeManifest() {
  bundle::Manifest manifest;
  manifest.vocab_size = kVocab;
  manifest.max_context = kContext;
  manifest.max_slots = 2;
  manifest.kv_groups = {{.window = 0, .blocks_per_slot = 2}};
  return manifest;
}

bundle::Plan MakePlan(const bundle::Call& call) {
  bundle::Plan plan;
  plan.rows = 8;
  plan.outputs = 2;
  plan.logits = F32(Space::kArena, 2, kVocab);
  plan.ids = {.space = Space::kArena, .dtype = DType::kI32, .offset = 0, .bytes = 8, .rows = 2, .cols = 1, .stride = 1};
  plan.logprobs = F32(Space::kArena, 2, kernels::sample_params::kLogprobCols);
  plan.calls = {call};
  return plan;
}

bundle::Call MakeCall(std::string kernel, std::vector<Operand> operands) {
  bundle::Call call;
  call.kernel = std::move(kernel);
  call.label = "layers.0.thing";
  call.operands = std::move(operands);
  return call;
}

bundle::Call Attention() {
  using namespace kernels::attention_params;
  Operand cache = F32(Space::kKvCache, 1, 1);
  cache.bytes = kCacheBytes;
  bundle::Call call = MakeCall("attention", {F32(Space::kArena, 8, 64), F32(Space::kArena, 8, 64), cache, F32(Space::kArena, 1, 64)});
  call.ints[kHeads] = 4;
  call.ints[kKvHeads] = runtime::kHeads;
  call.ints[kHeadDim] = kDim;
  call.ints[kNumBlocks] = kBlocks;
  return call;
}

std::string Fault(const bundle::Plan& plan, const bundle::Manifest& manifest = MakeManifest()) {
  try {
    CheckPlans({&plan, 1}, manifest);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kDataLoss);
    return e.what();
  }
  return "";
}

std::string Fault(const bundle::Call& call) { return Fault(MakePlan(call)); }

bool Contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

bundle::Call StatefulCall() {
  bundle::Call call = MakeCall("ssm_scan", {F32(Space::kArena, 8, 16), F32(Space::kKvCache, 6, 256)});
  call.ints[kernels::state_params::kEntries] = 3;
  return call;
}

TEST(CheckPlans, AcceptsWhatFits) {
  EXPECT_EQ(Fault(MakeCall("embed_f32", {F32(Space::kArena, 8, 16), Packed(kVocab, 16)})), "");
  EXPECT_EQ(Fault(Attention()), "");
}

TEST(CheckPlans, NamesTheCall) {
  const std::string fault = Fault(MakeCall("embed_f32", {F32(Space::kArena, 8, 16), Packed(kVocab - 1, 16)}));
  EXPECT_TRUE(Contains(fault, "layers.0.thing")) << fault;
  EXPECT_TRUE(Contains(fault, "context_encoding")) << fault;
  EXPECT_TRUE(Contains(fault, "99")) << fault;
}

TEST(CheckPlans, NothingMayWriteToWeights) {
  EXPECT_TRUE(Contains(Fault(MakeCall("add", {F32(Space::kWeights, 8, 16)})), "weights"));
  const Operand arena = F32(Space::kArena, 8, 16);
  EXPECT_TRUE(Contains(Fault(MakeCall("matmul_f32", {arena, arena, arena, arena, arena, F32(Space::kWeights, 8, 16)})), "operand 5"));
  EXPECT_TRUE(Contains(Fault(MakeCall("expert_exchange", {arena, arena, arena, F32(Space::kWeights, 8, 16)})), "operand 3"));
}

TEST(CheckPlans, PackedWeightsHaveTheBytesOfTheirBlocks) {
  Operand weight = Packed(kVocab, 16);
  weight.bytes -= 1;
  EXPECT_TRUE(Contains(Fault(MakeCall("embed_f32", {F32(Space::kArena, 8, 16), weight})), "bytes of packed weight"));
  EXPECT_TRUE(Contains(Fault(MakeCall("matmul_f32", {F32(Space::kArena, 8, kVocab), F32(Space::kArena, 8, 16), weight})), "bytes of packed weight"));
  weight.dtype = DType::kI64;
  EXPECT_TRUE(Contains(Fault(MakeCall("embed_f32", {F32(Space::kArena, 8, 16), weight})), "i64"));
}

TEST(CheckPlans, QuantisedWeightsHaveExactlyTheBytesOfTheirBlocks) {
  Operand weight = Packed(kVocab, 96);
  weight.dtype = DType::kQ8_0;
  weight.bytes = static_cast<uint64_t>(kernels::PackedBytes(kVocab, 96, DType::kQ8_0));
  const auto fault = [&] { return Fault(MakeCall("embed_q", {F32(Space::kArena, 8, 96), weight})); };
  EXPECT_EQ(fault(), "");
  weight.bytes -= 1;
  EXPECT_TRUE(Contains(fault(), "bytes of packed weight"));
  weight.bytes += 2;
  EXPECT_TRUE(Contains(fault(), "bytes of packed weight"));
  weight.dtype = DType::kQ4_K;   // units of 256
  EXPECT_TRUE(Contains(fault(), "bytes of packed weight"));
}

TEST(CheckPlans, RowsOfAStepMustFit) {
  EXPECT_TRUE(Contains(Fault(MakeCall("add", {F32(Space::kArena, 7, 16)})), "7 rows for a step of 8"));
  bundle::Call on_outputs = MakeCall("add", {F32(Space::kArena, 2, 16)});
  on_outputs.ints[kernels::kDomain] = static_cast<int64_t>(kernels::Domain::kOutputs);
  EXPECT_EQ(Fault(on_outputs), "");
  on_outputs.ints[kernels::kDomain] = 2;
  EXPECT_TRUE(Contains(Fault(on_outputs), "domain 2"));
}

TEST(CheckPlans, PositionsAndBlocksMustFit) {
  const Operand arena = F32(Space::kArena, 8, 16);
  EXPECT_TRUE(Contains(Fault(MakeCall("rope", {arena, arena, F32(Space::kWeights, kContext - 1, 16)})), "rotary"));
  bundle::Call rope = MakeCall("rope", {arena, arena, F32(Space::kWeights, kContext, 16)});
  EXPECT_EQ(Fault(rope), "");
  bundle::Call call = Attention();
  call.ints[kernels::attention_params::kGroup] = 1;
  EXPECT_TRUE(Contains(Fault(call), "KV group 1"));
  call = Attention();
  call.ints[kernels::attention_params::kNumBlocks] = kBlocks - 1;
  EXPECT_TRUE(Contains(Fault(call), "3 KV blocks"));
  call = Attention();
  call.operands[2].bytes = kCacheBytes - 1;
  EXPECT_TRUE(Contains(Fault(call), "bytes of KV cache"));
  call = Attention();
  call.ints[kernels::attention_params::kHeadDim] = 0;
  EXPECT_FALSE(Fault(call).empty());
}

TEST(CheckPlans, ResultsMustBeWhereTheEngineReadsThem) {
  const bundle::Call call = MakeCall("add", {F32(Space::kArena, 8, 16)});
  bundle::Plan plan = MakePlan(call);
  plan.logits.cols = kVocab + 1;
  EXPECT_TRUE(Contains(Fault(plan), "logits"));
  plan = MakePlan(call);
  plan.ids.rows = 1;
  EXPECT_TRUE(Contains(Fault(plan), "ids"));
  plan = MakePlan(call);
  plan.logprobs.space = Space::kNone;
  EXPECT_TRUE(Contains(Fault(plan), "log-probabilities"));
  plan = MakePlan(call);
  plan.outputs = 9;
  EXPECT_TRUE(Contains(Fault(plan), "9 outputs"));
}

TEST(CheckPlans, OfABundleThatEmbedsHaveVectorsForResults) {
  bundle::Manifest manifest = MakeManifest();
  manifest.embedding = bundle::EmbeddingEntry{.dim = 24, .pooling = "mean"};
  bundle::Plan plan = MakePlan(MakeCall("add", {F32(Space::kArena, 8, 16)}));
  plan.ids = plan.logprobs = {};
  EXPECT_TRUE(Contains(Fault(plan, manifest), "embeddings"));   // as wide as a vocabulary
  plan.logits = F32(Space::kArena, 2, 24);
  EXPECT_EQ(Fault(plan, manifest), "");
  EXPECT_TRUE(Contains(Fault(plan), "logits"));
  plan.phase = Phase::kTokenGeneration;
  EXPECT_TRUE(Contains(Fault(plan, manifest), "has a plan of token_generation"));
}

TEST(CheckPlans, PoolingAndPositionTablesMustFit) {
  bundle::Call pool = MakeCall("pool", {F32(Space::kArena, 2, 16), F32(Space::kArena, 7, 16)});
  pool.ints[kernels::kDomain] = static_cast<int64_t>(kernels::Domain::kOutputs);
  EXPECT_TRUE(Contains(Fault(pool), "7 rows to gather from"));
  const Operand arena = F32(Space::kArena, 8, 16);
  EXPECT_TRUE(Contains(Fault(MakeCall("add_position", {arena, arena, F32(Space::kWeights, kContext - 1, 16), F32(Space::kWeights, 1, 16)})),
                       "table of positions"));
}

TEST(CheckManifest, AbsurdSizesAreRefusedBeforeAnythingIsAllocated) {
  EXPECT_NO_THROW(CheckManifest(MakeManifest()));
  bundle::Manifest manifest = MakeManifest();
  manifest.max_context = int64_t{1} << 60;
  EXPECT_THROW(CheckManifest(manifest), Error);
  manifest = MakeManifest();
  manifest.max_slots = -1;
  EXPECT_THROW(CheckManifest(manifest), Error);
  manifest = MakeManifest();
  manifest.kv_groups[0].blocks_per_slot = int64_t{1} << 60;
  EXPECT_THROW(CheckManifest(manifest), Error);
}

TEST(CheckPlans, AStateNeedsRoomForTheEntriesOfEverySlotInTheKvPool) {
  EXPECT_EQ(Fault(MakePlan(StatefulCall())), "");
  bundle::Call call = StatefulCall();
  call.ints[kernels::state_params::kEntries] = 4;
  EXPECT_NE(Fault(MakePlan(call)).find("entries of a state"), std::string::npos);
  for (int64_t entries : {int64_t{0}, int64_t{-3}, int64_t{1} << 62}) {
    call.ints[kernels::state_params::kEntries] = entries;
    EXPECT_NE(Fault(MakePlan(call)).find("entries of its state"), std::string::npos) << entries;
  }
  call = StatefulCall();
  call.operands[1].space = Space::kArena;
  EXPECT_NE(Fault(MakePlan(call)).find("elsewhere than in the KV pool"), std::string::npos);
  call.operands[1].space = Space::kWeights;
  EXPECT_NE(Fault(MakePlan(call)).find("write to weights"), std::string::npos);
}

}  // namespace
}  // namespace intaglio::runtime
