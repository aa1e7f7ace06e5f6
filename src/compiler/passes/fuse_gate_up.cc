// act(x G^T) * (x U^T): the two matmuls become one over [G; U], and activation and product one walk over its columns.
#include "compiler/passes/passes.h"
#include "compiler/passes/rewrite.h"

namespace intaglio::compiler {
namespace {

using graph::Graph;
using graph::MatMulAttrs;
using graph::Node;
using graph::Op;
using graph::ValueId;

// Positions of Mul(act(MatMul gate), MatMul up).
struct Match {
  size_t gate, up, activation, product;
};

class Matcher {
 public:
  Matcher(const Graph& graph, const PassOptions& options) : graph_(graph), uses_(CountUses(graph)), kept_(KeptProbes(graph, options)) {}

  [[nodiscard]] std::optional<Match> At(size_t product) const {
    if (graph_.nodes[product].op != Op::kMul) return std::nullopt;
    const std::vector<ValueId>& factors = graph_.nodes[product].inputs;
    const auto match = WithGate(product, factors[0], factors[1]);
    return match ? match : WithGate(product, factors[1], factors[0]);
  }

 private:
  [[nodiscard]] std::optional<Match> WithGate(size_t product, ValueId activated, ValueId multiplied) const {
    const auto activation = OnlyUse(activated), up = OnlyUse(multiplied);
    if (!activation || !up) return std::nullopt;
    const Op op = graph_.nodes[*activation].op;
    if (op != Op::kSilu && op != Op::kGeluTanh) return std::nullopt;
    const auto gate = OnlyUse(graph_.nodes[*activation].inputs[0]);
    if (!gate || !AreAlike(graph_.nodes[*gate], graph_.nodes[*up])) return std::nullopt;
    return Match{.gate = *gate, .up = *up, .activation = *activation, .product = product};
  }
  // The producer of a value that has one reader and no probe.
  [[nodiscard]] std::optional<size_t> OnlyUse(ValueId value) const {
    if (uses_[static_cast<size_t>(value)] != 1 || kept_.contains(value)) return std::nullopt;
    return ProducerOf(graph_, value);
  }
  [[nodiscard]] bool AreAlike(const Node& gate, const Node& up) const {
    return gate.op == Op::kMatMul && up.op == Op::kMatMul && gate.inputs[0] == up.inputs[0] && gate.attrs == up.attrs &&
           !std::get<MatMulAttrs>(gate.attrs).has_residual && WeightOf(graph_, gate).dtype == WeightOf(graph_, up).dtype;
  }

  const Graph& graph_;
  const std::vector<int> uses_;
  const std::set<ValueId> kept_;
};

void Fuse(Graph& graph, const Match& match) {
  const Node gate = graph.nodes[match.gate], up = graph.nodes[match.up];
  const std::string scope = ParentScope(gate.scope) + ".gate_up_proj";
  const bool has_bias = std::get<MatMulAttrs>(gate.attrs).has_bias;
  const Shape& half = graph.value(gate.outputs[0]).shape;
  const ValueId both = AddValue(graph, {half[0], 2 * half[1]});
  Node matmul{.op = Op::kMatMul,
              .inputs = {gate.inputs[0], StackWeights(graph, {gate.inputs[1], up.inputs[1]}, scope + ".weight")},
              .outputs = {both},
              .attrs = gate.attrs,
              .scope = scope};
  if (has_bias) matmul.inputs.push_back(StackWeights(graph, {gate.inputs[2], up.inputs[2]}, scope + ".bias"));
  const Op op = graph.nodes[match.activation].op == Op::kSilu ? Op::kGatedSilu : Op::kGatedGeluTanh;
  Node& product = graph.nodes[match.product];
  product = {.op = op, .inputs = {both}, .outputs = product.outputs, .attrs = graph::NoAttrs{}, .scope = product.scope};
  graph.nodes[std::min(match.gate, match.up)] = std::move(matmul);
  graph.nodes.erase(graph.nodes.begin() + static_cast<ptrdiff_t>(std::max(match.gate, match.up)));
  const size_t activation = match.activation - (match.activation > std::max(match.gate, match.up) ? 1 : 0);
  graph.nodes.erase(graph.nodes.begin() + static_cast<ptrdiff_t>(activation));
}

}  // namespace

void FuseGateUp(Graph& graph, const PassOptions& options) {
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (const auto match = Matcher(graph, options).At(i)) {
      Fuse(graph, *match);
      i -= 2;
    }
  }
}

}  // namespace intaglio::compiler
