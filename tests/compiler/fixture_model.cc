#include "tests/compiler/fixture_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "checkpoint/hf_config.h"
#include "graph/interpreter.h"

namespace intaglio::compiler {

std::string FixturePath(const std::string& name) { return INTAGLIO_SOURCE_DIR "/tests/fixtures/" + name; }

std::string TestName(std::string_view fixture) {
  std::string name(fixture);
  std::ranges::replace(name, '-', '_');
  return name;
}

FixtureModel::FixtureModel(const std::string& name)
    : checkpoint(checkpoint::Checkpoint::Open(FixturePath(name))),
      model(models::ParseModel(checkpoint::HfConfig::Parse(checkpoint->config_json(), name))) {}

graph::Graph FixtureModel::Build(Phase phase, int64_t rows, int64_t outputs, const graph::FormatPolicy& formats) const {
  return model->Build({.phase = phase, .rows = rows, .outputs = outputs, .max_context = 128, .formats = formats});
}

std::vector<float> FixtureModel::ReadTensor(const std::string& name) const {
  const Shape shape = checkpoint->shape(name);
  std::vector<float> data(static_cast<size_t>(shape.num_elements()));
  checkpoint->ReadRows(name, 0, shape.size() == 1 ? 1 : shape[0], data);
  return data;
}

std::vector<float> Logits(const FixtureModel& fixture, const graph::Graph& graph) {
  std::vector<int32_t> tokens, positions, slots, output_rows;
  for (int32_t row = 0; row < graph.rows; ++row) {
    tokens.push_back((row * 131 + 7) % static_cast<int32_t>(fixture.model->vocab_size()));
    positions.push_back(row);
    slots.push_back(0);
    if (row >= graph.rows - graph.outputs) output_rows.push_back(row);
  }
  const graph::Interpreter interpreter(graph, [&](const std::string& name) { return fixture.ReadTensor(name); });
  graph::KvState kv;
  auto values = interpreter.Run({.tokens = tokens, .positions = positions, .slots = slots, .output_rows = output_rows}, kv);
  return values[static_cast<size_t>(graph.logits)].f32;
}

void ExpectSameNumbers(const std::vector<float>& actual, const std::vector<float>& expected) {
  constexpr float kTolerance = 2e-5f;
  ASSERT_EQ(actual.size(), expected.size());
  float largest = 0;
  for (float value : expected) largest = std::max(largest, std::fabs(value));
  size_t worst = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    if (!(std::fabs(actual[i] - expected[i]) <= std::fabs(actual[worst] - expected[worst]))) worst = i;
  }
  EXPECT_LE(std::fabs(actual[worst] - expected[worst]), kTolerance * largest)
      << "element " << worst << " is " << actual[worst] << ", expected " << expected[worst];
}

size_t CountOps(const graph::Graph& graph, graph::Op op) { return static_cast<size_t>(std::ranges::count(graph.nodes, op, &graph::Node::op)); }

const graph::Node& NodeIn(const graph::Graph& graph, std::string_view scope) {
  EXPECT_EQ(std::ranges::count(graph.nodes, scope, &graph::Node::scope), 1) << scope;
  return *std::ranges::find(graph.nodes, scope, &graph::Node::scope);
}

const graph::Weight* FindWeight(const graph::Graph& graph, std::string_view name) {
  const auto found = std::ranges::find(graph.weights, name, &graph::Weight::name);
  return found == graph.weights.end() ? nullptr : &*found;
}

}  // namespace intaglio::compiler
