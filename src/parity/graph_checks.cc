#include "parity/graph_checks.h"

#include <cmath>
#include <cstring>

#include "base/fail.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/hf_config.h"
#include "graph/graph.h"
#include "models/decoder.h"

namespace intaglio::parity {
namespace {

constexpr double kRotaryTolerance = 1e-5;

// "p1.layer0.cos" -> layer 0.
int LayerOf(const std::string& golden_name) { return std::atoi(golden_name.c_str() + golden_name.find("layer") + 5); }

const graph::Node* FindNode(const graph::Graph& graph, int layer, bool (*is_wanted)(graph::Op)) {
  const std::string scope = StrCat("layers.", layer, ".");
  for (const graph::Node& node : graph.nodes) {
    if (is_wanted(node.op) && node.scope.find(scope) != std::string::npos) return &node;
  }
  return nullptr;
}

// Columns [begin, begin + half) of the layer's rotary table against the first half of the golden's columns.
ParityCheck CheckRotary(const graph::Graph& graph, const std::string& name, const TensorView& golden, bool is_sine) {
  ParityCheck check{
      .name = name, .worst = 0, .tolerance = kRotaryTolerance, .where = "the layer does not rotate (q_rope and k_rope tell)", .is_ok = true};
  const graph::Node* node = FindNode(graph, LayerOf(name), [](graph::Op op) { return op == graph::Op::kRope || op == graph::Op::kNormRope; });
  if (node == nullptr) return check;   // the goldens have tables for such layers too, which do not use them
  if (graph.value(node->inputs[2]).source != graph::Source::kWeight) {
    check.where = "computed in every step (q_rope and k_rope tell)";
    return check;
  }
  const graph::Weight& table = graph.weights[static_cast<size_t>(graph.value(node->inputs[2]).index)];
  const int64_t half = table.shape[1] / 2, cols = golden.shape[1];
  check.where.clear();
  for (int64_t row = 0; row < golden.shape[0]; ++row) {
    for (int64_t i = 0; i < half; ++i) {
      float expected = 0;
      std::memcpy(&expected, golden.bytes.data() + (row * cols + i) * 4, 4);
      const float actual = (*table.constant)[static_cast<size_t>(row * 2 * half + (is_sine ? half : 0) + i)];
      const double error = std::fabs(static_cast<double>(actual) - expected);
      if (error < check.worst) continue;
      check.worst = error;
      check.where = StrCat('[', row, ", ", i, "]: ", actual, " instead of ", expected);
    }
  }
  check.is_ok = check.worst <= check.tolerance;
  return check;
}

ParityCheck CheckMask(const graph::Graph& graph, const std::string& name, const TensorView& golden) {
  const graph::Node* node = FindNode(graph, LayerOf(name), [](graph::Op op) { return op == graph::Op::kAttention; });
  Require(node != nullptr, ErrorCode::kNotFound, name, ": the layer has no attention");
  const auto& attrs = std::get<graph::AttentionAttrs>(node->attrs);
  ParityCheck check{.name = name, .worst = 0, .tolerance = 0, .where = {}, .is_ok = true};
  for (int64_t query = 0; query < golden.shape[0]; ++query) {
    for (int64_t key = 0; key < golden.shape[1]; ++key) {
      if (attrs.IsVisible(query, key) == (std::to_integer<int>(golden.bytes[static_cast<size_t>(query * golden.shape[1] + key)]) != 0)) continue;
      check.worst += 1;
      check.where = StrCat("query ", query, ", key ", key);
    }
  }
  check.is_ok = check.worst == 0;
  return check;
}

}  // namespace

bool IsGraphProbe(const std::string& golden_name) {
  return golden_name.ends_with(".cos") || golden_name.ends_with(".sin") || golden_name.ends_with(".mask");
}

std::vector<ParityCheck> CheckGraph(const std::filesystem::path& fixture, const checkpoint::SafetensorsFile& golden) {
  const auto checkpoint = checkpoint::Checkpoint::Open(fixture);
  const auto config = checkpoint::HfConfig::Parse(checkpoint->config_json(), (fixture / "config.json").string());
  const graph::Graph graph = models::ParseModel(config)->Build({.phase = Phase::kContextEncoding, .rows = 1, .outputs = 1, .max_context = 128});
  std::vector<ParityCheck> checks;
  for (const std::string& name : golden.names()) {
    if (!IsGraphProbe(name)) continue;
    const TensorView& tensor = golden.tensor(name);
    checks.push_back(name.ends_with(".mask") ? CheckMask(graph, name, tensor) : CheckRotary(graph, name, tensor, name.ends_with(".sin")));
  }
  return checks;
}

}  // namespace intaglio::parity
