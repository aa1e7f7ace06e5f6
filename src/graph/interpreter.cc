#include "graph/interpreter.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "base/fail.h"
#include "base/strings.h"
#include "graph/infer.h"
#include "graph/interpret_elementwise.h"
#include "graph/interpret_embedder.h"
#include "graph/interpret_experts.h"
#include "graph/interpret_operand.h"
#include "graph/interpret_ranks.h"
#include "graph/interpret_recurrent.h"
#include "graph/load_weight.h"
#include "graph/op_table.h"
#include "graph/step_inputs.h"
#include "graph/verify.h"

namespace intaglio::graph {
namespace {

// A step under way. Each op is a function of one node; operands are looked up by position.
class Run {
 public:
  Run(const Graph& graph, const std::vector<std::vector<float>>& weights, const StepInputs& step, KvState& kv, const RankExchange& exchange)
      : graph_(graph), weights_(weights), step_(step), kv_(kv), exchange_(exchange), buffers_(graph.values.size()) {
    for (size_t i = 0; i < buffers_.size(); ++i) {
      const auto assign = [&](std::span<const int32_t> data) { buffers_[i].i32.assign(data.begin(), data.end()); };
      switch (graph.values[i].source) {
        case Source::kTokens:
          assign(step.tokens);
          break;
        case Source::kPositions:
          assign(step.positions);
          break;
        case Source::kSlots:
          assign(step.slots);
          break;
        case Source::kOutputRows:
          assign(step.output_rows);
          break;
        case Source::kRopeRows:
          assign(step.rope_rows);
          break;
        case Source::kActivation:
          buffers_[i].f32.assign(step.activation.begin(), step.activation.end());
          break;
        case Source::kNode:
        case Source::kWeight:
        case Source::kKvCache:
        case Source::kState:
          break;
      }
    }
  }

  void Execute(const Node& node);
  [[nodiscard]] std::vector<Buffer> TakeBuffers() { return std::move(buffers_); }

 private:
  struct Meaning;
  struct Meanings;

  [[nodiscard]] std::span<const float> In(const Node& node, size_t i) const {
    const Value& value = graph_.value(node.inputs[i]);
    if (value.source == Source::kWeight) return weights_[static_cast<size_t>(value.index)];
    return buffers_[static_cast<size_t>(node.inputs[i])].f32;
  }
  [[nodiscard]] std::vector<Operand> OperandsOf(const Node& node) const;
  [[nodiscard]] size_t Cols(ValueId id) const { return static_cast<size_t>(graph_.value(id).shape.back()); }
  [[nodiscard]] std::vector<float>& Out(const Node& node) { return buffers_[static_cast<size_t>(node.outputs[0])].f32; }
  [[nodiscard]] int32_t LayerOf(ValueId cache) const { return graph_.kv_caches[static_cast<size_t>(graph_.value(cache).index)].layer; }
  // What a row sees of its slot, ascending.
  [[nodiscard]] std::vector<const KvEntry*> Reach(int32_t layer, size_t row, const AttentionAttrs& attrs) const;

  void Embedding(const Node& node);
  void MatMul(const Node& node);
  void RmsNorm(const Node& node);
  void Rotary(const Node& node);
  void Rotate(const Node& node, std::span<const float> x);
  void Rope(const Node& node) { Rotate(node, In(node, 0)); }
  void NormRope(const Node& node);
  void ScaleByPosition(const Node& node);
  void Slice(const Node& node);
  void KvUpdate(const Node& node);
  void Attention(const Node& node);
  void Experts(const Node& node);
  void Recurrent(const Node& node);
  void Embedder(const Node& node);
  void Elementwise(const Node& node);
  void Ranks(const Node& node);
  void GatherRows(const Node& node);
  void Sample(const Node& node);

  const Graph& graph_;
  const std::vector<std::vector<float>>& weights_;
  const StepInputs& step_;
  KvState& kv_;
  const RankExchange& exchange_;
  std::vector<Buffer> buffers_;
};

std::vector<Operand> Run::OperandsOf(const Node& node) const {
  std::vector<Operand> operands;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const bool has_shape = !graph_.value(node.inputs[i]).shape.empty();
    const std::vector<int32_t>& integers = buffers_[static_cast<size_t>(node.inputs[i])].i32;
    operands.push_back({.f32 = In(node, i), .i32 = integers, .cols = has_shape ? Cols(node.inputs[i]) : 0});
  }
  return operands;
}

std::vector<float> Normalised(std::span<const float> x, std::span<const float> weight, float eps) {
  const size_t width = weight.size();
  std::vector<float> out(x.size());
  for (size_t begin = 0; begin < x.size(); begin += width) {
    double sum = 0;
    for (float element : x.subspan(begin, width)) sum += static_cast<double>(element) * element;
    const double scale = 1 / std::sqrt(sum / static_cast<double>(width) + eps);
    for (size_t i = 0; i < width; ++i) out[begin + i] = static_cast<float>(x[begin + i] * scale * weight[i]);
  }
  return out;
}

void Run::Embedding(const Node& node) {
  const std::span<const float> table = In(node, 1);
  const size_t cols = Cols(node.outputs[0]);
  const auto& attrs = std::get<EmbeddingAttrs>(node.attrs);
  const auto ids = static_cast<int64_t>(table.size() / cols);
  for (int32_t token : step_.tokens) {
    const int64_t row = token - attrs.first_id;
    const bool is_own = row >= 0 && row < ids;
    Require(is_own || (token >= 0 && !graph_.place.is_alone()), ErrorCode::kInvalidArgument, "interpreter: token ", token,
            " is outside of the vocabulary of ", ids);
    if (!is_own) {
      Out(node).resize(Out(node).size() + cols, -0.0f);
      continue;
    }
    for (float element : table.subspan(static_cast<size_t>(row) * cols, cols)) Out(node).push_back(element * attrs.scale);
  }
}

void Run::MatMul(const Node& node) {
  const auto& attrs = std::get<MatMulAttrs>(node.attrs);
  const std::span<const float> x = In(node, 0), weight = In(node, 1);
  const size_t k = Cols(node.inputs[0]), n = Cols(node.outputs[0]), rows = x.size() / k;
  std::vector<float>& out = Out(node);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t col = 0; col < n; ++col) {
      double sum = attrs.has_bias ? In(node, 2)[col] : 0.0;
      if (attrs.has_residual) sum += In(node, node.inputs.size() - 1)[row * n + col];
      for (size_t i = 0; i < k; ++i) sum += static_cast<double>(x[row * k + i]) * weight[col * k + i];
      out.push_back(static_cast<float>(sum));
    }
  }
}

void Run::RmsNorm(const Node& node) { Out(node) = Normalised(In(node, 0), In(node, 1), std::get<NormAttrs>(node.attrs).eps); }

void Run::Rotary(const Node& node) {
  const std::span<const float> table = In(node, 2);
  const size_t half = Cols(node.inputs[2]);
  for (size_t row = 0; row < step_.positions.size(); ++row) {
    const auto length = static_cast<size_t>(std::max<int64_t>(0, step_.rope_rows[row] - std::get<RotaryAttrs>(node.attrs).first_length));
    const auto angle = [&](size_t i) { return static_cast<double>(static_cast<float>(step_.positions[row]) * table[length * half + i]); };
    for (size_t i = 0; i < half; ++i) Out(node).push_back(static_cast<float>(std::cos(angle(i))));
    for (size_t i = 0; i < half; ++i) Out(node).push_back(static_cast<float>(std::sin(angle(i))));
  }
}

void Run::Rotate(const Node& node, std::span<const float> x) {
  const auto& attrs = std::get<RopeAttrs>(node.attrs);
  const bool is_per_row = graph_.value(node.inputs[2]).source == Source::kNode;
  const std::span<const float> table = In(node, 2);
  const auto head_dim = static_cast<size_t>(attrs.head_dim), half = static_cast<size_t>(attrs.rotary_dim) / 2, cols = Cols(node.inputs[0]);
  const std::vector<int32_t>& rows = buffers_[static_cast<size_t>(node.inputs[1])].i32;
  std::vector<float>& out = Out(node);
  out.assign(x.begin(), x.end());
  for (size_t begin = 0; begin < x.size(); begin += head_dim) {   // every head of every row
    const size_t row = is_per_row ? begin / cols : static_cast<size_t>(rows[begin / cols]);
    const std::span<const float> angles = table.subspan(row * 2 * half, 2 * half);
    for (size_t i = 0; i < half; ++i) {
      const bool is_halves = attrs.style == RopeStyle::kHalves;
      const size_t left = begin + (is_halves ? i : 2 * i), right = begin + (is_halves ? half + i : 2 * i + 1);
      const double cosine = angles[i], sine = angles[half + i];
      out[left] = static_cast<float>(x[left] * cosine - x[right] * sine);
      out[right] = static_cast<float>(x[right] * cosine + x[left] * sine);
    }
  }
}

void Run::NormRope(const Node& node) { Rotate(node, Normalised(In(node, 0), In(node, 3), std::get<RopeAttrs>(node.attrs).eps)); }

void Run::ScaleByPosition(const Node& node) {
  const std::span<const float> x = In(node, 0), table = In(node, 2);
  for (size_t i = 0; i < x.size(); ++i) Out(node).push_back(x[i] * table[static_cast<size_t>(step_.positions[i / Cols(node.inputs[0])])]);
}

void Run::Slice(const Node& node) {
  const auto& attrs = std::get<SliceAttrs>(node.attrs);
  const std::span<const float> x = In(node, 0);
  for (size_t row = 0; row < x.size(); row += Cols(node.inputs[0])) {
    const auto columns = x.subspan(row + static_cast<size_t>(attrs.begin), static_cast<size_t>(attrs.size));
    Out(node).insert(Out(node).end(), columns.begin(), columns.end());
  }
}

void Run::KvUpdate(const Node& node) {
  const size_t k_cols = Cols(node.inputs[1]), v_cols = Cols(node.inputs[2]);
  for (size_t row = 0; row < step_.slots.size(); ++row) {
    const auto k = In(node, 1).subspan(row * k_cols, k_cols), v = In(node, 2).subspan(row * v_cols, v_cols);
    KvEntry& entry = kv_[{LayerOf(node.inputs[0]), step_.slots[row], step_.positions[row]}];
    entry.k.assign(k.begin(), k.end());
    entry.v.assign(v.begin(), v.end());
  }
}

std::vector<const KvEntry*> Run::Reach(int32_t layer, size_t row, const AttentionAttrs& attrs) const {
  const int32_t own = step_.positions[row];
  int32_t last = own;   // of the slot: a row of a later token is in the same step, or nowhere
  for (size_t other = 0; attrs.sees_both_ways && other < step_.slots.size(); ++other) {
    if (step_.slots[other] == step_.slots[row]) last = std::max(last, step_.positions[other]);
  }
  std::vector<const KvEntry*> entries;
  for (int32_t position = 0; position <= last; ++position) {
    if (!attrs.IsVisible(own, position)) continue;
    const auto found = kv_.find({layer, step_.slots[row], position});
    Require(found != kv_.end(), ErrorCode::kInvalidArgument, "interpreter: slot ", step_.slots[row], " has no position ", position, ", row ", row,
            " is at ", own);
    entries.push_back(&found->second);
  }
  return entries;
}

void Run::Attention(const Node& node) {
  const auto& attrs = std::get<AttentionAttrs>(node.attrs);
  const auto heads = static_cast<size_t>(attrs.heads), head_dim = static_cast<size_t>(attrs.head_dim), v_dim = static_cast<size_t>(attrs.value_dim()),
             group = heads / static_cast<size_t>(attrs.kv_heads);
  const std::span<const float> q = In(node, 0);
  std::vector<float>& out = Out(node);
  for (size_t row = 0; row < step_.slots.size(); ++row) {
    const std::vector<const KvEntry*> entries = Reach(LayerOf(node.inputs[1]), row, attrs);
    for (size_t head = 0; head < heads; ++head) {
      const size_t kv_head = head / group;
      std::vector<double> weights;
      for (const KvEntry* entry : entries) {
        double dot = 0;
        for (size_t i = 0; i < head_dim; ++i) dot += static_cast<double>(q[(row * heads + head) * head_dim + i]) * entry->k[kv_head * head_dim + i];
        const double score = dot * attrs.scale, cap = attrs.softcap;
        weights.push_back(cap == 0 ? score : cap * std::tanh(score / cap));
      }
      if (attrs.has_sinks) weights.push_back(In(node, 4)[head]);
      const double largest = *std::ranges::max_element(weights);
      double total = 0;
      for (double& weight : weights) total += weight = std::exp(weight - largest);
      for (size_t i = 0; i < v_dim; ++i) {
        double sum = 0;
        for (size_t entry = 0; entry < entries.size(); ++entry) sum += weights[entry] * entries[entry]->v[kv_head * v_dim + i];
        out.push_back(static_cast<float>(sum / total));
      }
    }
  }
}

void Run::Recurrent(const Node& node) { Out(node) = InterpretRecurrent({.graph = graph_, .node = node, .step = step_}, OperandsOf(node), kv_); }

void Run::GatherRows(const Node& node) {
  const size_t cols = Cols(node.inputs[0]);
  for (int32_t row : step_.output_rows) {
    const auto columns = In(node, 0).subspan(static_cast<size_t>(row) * cols, cols);
    Out(node).insert(Out(node).end(), columns.begin(), columns.end());
  }
}

void Run::Sample(const Node& node) {
  const std::span<const float> logits = In(node, 0);
  const size_t cols = Cols(node.inputs[0]);
  const bool is_split = std::get<SampleAttrs>(node.attrs).vocab != 0;
  for (size_t begin = 0; begin < logits.size(); begin += cols) {
    const auto own = logits.subspan(begin, cols);
    const std::vector<float> row = is_split ? exchange_.all_gather(own) : std::vector<float>(own.begin(), own.end());
    buffers_[static_cast<size_t>(node.outputs[0])].i32.push_back(static_cast<int32_t>(std::ranges::max_element(row) - row.begin()));
  }
  buffers_[static_cast<size_t>(node.outputs[1])].f32.resize(logits.size() / cols * kLogprobCols);
}

void Run::Elementwise(const Node& node) { Out(node) = InterpretElementwise(node, OperandsOf(node)); }

void Run::Experts(const Node& node) {
  std::vector<Buffer> outputs = InterpretExperts(node, OperandsOf(node));
  for (size_t i = 0; i < outputs.size(); ++i) buffers_[static_cast<size_t>(node.outputs[i])] = std::move(outputs[i]);
}

void Run::Ranks(const Node& node) {
  Out(node) = InterpretRanks({.graph = graph_, .node = node, .live_rows = step_.tokens.size(), .exchange = exchange_}, OperandsOf(node));
}

void Run::Embedder(const Node& node) { Out(node) = InterpretEmbedder(node, OperandsOf(node)); }

struct Run::Meaning {
  Op op;
  void (Run::*run)(const Node&);
};

struct Run::Meanings {
  static constexpr auto kAll = std::to_array<Meaning>({
      {Op::kEmbedding, &Run::Embedding},
      {Op::kMatMul, &Run::MatMul},
      {Op::kRmsNorm, &Run::RmsNorm},
      {Op::kRotary, &Run::Rotary},
      {Op::kRope, &Run::Rope},
      {Op::kNormRope, &Run::NormRope},
      {Op::kScaleByPosition, &Run::ScaleByPosition},
      {Op::kHeadMatMul, &Run::Experts},
      {Op::kHeadConcat, &Run::Experts},
      {Op::kSlice, &Run::Slice},
      {Op::kKvUpdate, &Run::KvUpdate},
      {Op::kAttention, &Run::Attention},
      {Op::kAdd, &Run::Elementwise},
      {Op::kMul, &Run::Elementwise},
      {Op::kScale, &Run::Elementwise},
      {Op::kSoftcap, &Run::Elementwise},
      {Op::kSilu, &Run::Elementwise},
      {Op::kGeluTanh, &Run::Elementwise},
      {Op::kGelu, &Run::Elementwise},
      {Op::kTanh, &Run::Elementwise},
      {Op::kLayerNorm, &Run::Embedder},
      {Op::kUnitNorm, &Run::Embedder},
      {Op::kAddPosition, &Run::Embedder},
      {Op::kPool, &Run::Embedder},
      {Op::kGatedSilu, &Run::Elementwise},
      {Op::kGatedGeluTanh, &Run::Elementwise},
      {Op::kGatedClamped, &Run::Elementwise},
      {Op::kRoute, &Run::Experts},
      {Op::kExpertGroup, &Run::Experts},
      {Op::kExpertGather, &Run::Experts},
      {Op::kExpertMatMul, &Run::Experts},
      {Op::kExpertCombine, &Run::Experts},
      {Op::kScaleColumns, &Run::Recurrent},
      {Op::kSigmoidGate, &Run::Recurrent},
      {Op::kCausalConv, &Run::Recurrent},
      {Op::kGatedDeltaRule, &Run::Recurrent},
      {Op::kSsmScan, &Run::Recurrent},
      {Op::kAllReduce, &Run::Ranks},
      {Op::kAllGather, &Run::Ranks},
      {Op::kAddBias, &Run::Ranks},
      {Op::kZeros, &Run::Ranks},
      {Op::kSquareSum, &Run::Ranks},
      {Op::kNormBy, &Run::Ranks},
      {Op::kExpertIsolate, &Run::Ranks},
      {Op::kExpertBias, &Run::Ranks},
      {Op::kExpertExchange, &Run::Ranks},
      {Op::kRowGather, &Run::Ranks},
      {Op::kGatherRows, &Run::GatherRows},
      {Op::kSample, &Run::Sample},
  });
};

void Run::Execute(const Node& node) {
  static_assert(HasEveryOp(Meanings::kAll));
  (this->*Meanings::kAll[static_cast<size_t>(node.op)].run)(node);
}

}  // namespace

Interpreter::Interpreter(const Graph& graph, const ReadTensor& read, const RoundWeight& round) : graph_(graph) {
  Verify(graph, "handing it to the interpreter");
  for (const Weight& weight : graph.weights) {
    weights_.push_back(LoadWeight(weight, read));
    if (round && weight.dtype != DType::kF32) round(weight, weights_.back());
  }
}

std::vector<Buffer> Interpreter::Run(const StepInputs& step, KvState& kv, const RankExchange& exchange) const {
  if (!graph_.place.is_alone() && (!exchange.all_reduce || !exchange.all_gather))
    throw std::logic_error(StrCat("the graph of rank ", graph_.place.rank, " of ", graph_.place.tp_degree, " runs alone"));
  CheckStep(graph_, step);
  graph::Run run(graph_, weights_, step, kv, exchange);
  for (const Node& node : graph_.nodes) run.Execute(node);
  return run.TakeBuffers();
}

}  // namespace intaglio::graph
