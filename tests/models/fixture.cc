#include "tests/models/fixture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "parity/tolerances.h"

namespace intaglio::models {
namespace {

using graph::Buffer;
using graph::Graph;
using graph::Interpreter;
using graph::Node;
using graph::Op;

const std::string kFixtures = INTAGLIO_SOURCE_DIR "/tests/fixtures/";
constexpr double kRotaryTolerance = 1e-5;   // fixtures/README.md, "Tolerances"

parity::Tolerances TolerancesOf(const Fixture& fixture) { return parity::TolerancesOf(fixture.config().architecture()); }

template <typename T>
std::vector<T> Elements(const TensorView& tensor) {
  std::vector<T> elements(tensor.bytes.size() / sizeof(T));
  std::memcpy(elements.data(), tensor.bytes.data(), tensor.bytes.size());
  return elements;
}

void ExpectNear(const std::vector<float>& actual, const std::vector<float>& expected, double tolerance, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  size_t worst = 0;
  double error = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(actual[i]) - expected[i]);
    if (!(difference <= error)) error = difference, worst = i;
  }
  EXPECT_LE(error, tolerance) << what << ": element " << worst << " is " << actual[worst] << ", Transformers has " << expected[worst];
}

double LargestEntry(const std::vector<float>& values) {
  double largest = 0;
  for (float value : values) largest = std::max(largest, std::fabs(static_cast<double>(value)));
  return largest;
}

// [heads, T, dim] -> [T, heads * dim], as graphs have it.
std::vector<float> HeadsLast(const std::vector<float>& values, const Shape& shape) {
  if (shape.size() != 3) return values;
  const auto heads = static_cast<size_t>(shape[0]), rows = static_cast<size_t>(shape[1]), dim = static_cast<size_t>(shape[2]);
  std::vector<float> out;
  for (size_t row = 0; row < rows; ++row) {
    for (size_t head = 0; head < heads; ++head) {
      const auto begin = values.begin() + static_cast<std::ptrdiff_t>((head * rows + row) * dim);
      out.insert(out.end(), begin, begin + static_cast<std::ptrdiff_t>(dim));
    }
  }
  return out;
}

// The node of `op` in the layer of a probe such as "p1.layer3.cos".
const Node* FindInLayer(const Graph& graph, Op op, const std::string& probe) {
  const std::string layer = probe.substr(8, probe.find('.', 8) - 8);
  for (const Node& node : graph.nodes) {
    if (node.op == op && node.scope == "model.layers." + layer + ".self_attn") return &node;
  }
  return nullptr;
}

void ExpectRotaryTable(const Graph& graph, const Fixture& fixture, const std::string& name) {
  const Node* rope = FindInLayer(graph, Op::kRope, name);
  if (rope == nullptr) return;   // a layer that does not rotate, as q_rope and k_rope show
  const std::vector<float>& table = *graph.weights[static_cast<size_t>(graph.value(rope->inputs[2]).index)].constant;
  const Shape& shape = fixture.golden().tensor(name).shape;
  const auto half = static_cast<size_t>(std::get<graph::RopeAttrs>(rope->attrs).rotary_dim) / 2, cols = static_cast<size_t>(shape[1]);
  const size_t offset = name.ends_with(".sin") ? half : 0;
  std::vector<float> actual;   // goldens have the halves twice, or once
  for (size_t i = 0; i < static_cast<size_t>(shape[0]) * cols; ++i) actual.push_back(table[i / cols * 2 * half + offset + i % cols % half]);
  ExpectNear(actual, fixture.Floats(name), kRotaryTolerance, name);
}

void ExpectMask(const Graph& graph, const Fixture& fixture, const std::string& name) {
  const Node* attention = FindInLayer(graph, Op::kAttention, name);
  ASSERT_NE(attention, nullptr) << name;
  const auto& attrs = std::get<graph::AttentionAttrs>(attention->attrs);
  const int64_t size = fixture.golden().tensor(name).shape[0];
  std::vector<uint8_t> actual;
  for (int64_t i = 0; i < size * size; ++i) { actual.push_back(attrs.IsVisible(i / size, i % size)); }
  EXPECT_EQ(actual, Elements<uint8_t>(fixture.golden().tensor(name))) << name;
}

Graph BuildFor(const Fixture& fixture, size_t rows) {
  const auto count = static_cast<int64_t>(rows);
  return fixture.model().Build({.phase = Phase::kContextEncoding, .rows = count, .outputs = count, .max_context = 128});
}

std::vector<Buffer> RunPrompt(const Fixture& fixture, const Graph& graph, const std::vector<int32_t>& ids) {
  const Interpreter interpreter(graph, [&](const std::string& name) { return fixture.ReadTensor(name); });
  return std::move(RunInChunks(interpreter, graph, ids).front().values);
}

// Transformers lists a row's experts in any order, the graph by ascending id.
void ExpectExperts(const Fixture& fixture, const Graph& graph, const std::vector<Buffer>& values, const std::string& prefix) {
  const std::vector<int32_t> golden_ids = fixture.Ids("p1." + prefix + "expert_ids");
  const std::vector<float> golden_weights = fixture.Floats("p1." + prefix + "expert_weights");
  const auto top_k = static_cast<size_t>(fixture.golden().tensor("p1." + prefix + "expert_ids").shape.back());
  std::vector<int32_t> ids;
  std::vector<float> weights;
  for (size_t row = 0; row < golden_ids.size(); row += top_k) {
    std::vector<std::pair<int32_t, float>> chosen;
    for (size_t i = row; i < row + top_k; ++i) chosen.emplace_back(golden_ids[i], golden_weights[i]);
    std::ranges::sort(chosen);
    for (const auto& [id, weight] : chosen) ids.push_back(id), weights.push_back(weight);
  }
  EXPECT_EQ(values[static_cast<size_t>(graph.probes.at(prefix + "expert_ids"))].i32, ids);
  ExpectNear(values[static_cast<size_t>(graph.probes.at(prefix + "expert_weights"))].f32, weights, TolerancesOf(fixture).probes,
             prefix + "expert_weights");
}

void ExpectProbes(const Fixture& fixture, const Graph& graph, const std::vector<Buffer>& values) {
  size_t num_compared = 0;
  for (const std::string& name : fixture.golden().names()) {
    if (!name.starts_with("p1.") || name == "p1.input_ids" || name == "p1.logits") continue;
    ++num_compared;
    if (name.ends_with(".cos") || name.ends_with(".sin")) {
      ExpectRotaryTable(graph, fixture, name);
    } else if (name.ends_with(".mask")) {
      ExpectMask(graph, fixture, name);
    } else if (name.ends_with(".expert_ids")) {
      ExpectExperts(fixture, graph, values, name.substr(3, name.rfind('.') - 2));
    } else if (!name.ends_with(".expert_weights")) {
      const auto probe = graph.probes.find(name.substr(3));
      ASSERT_NE(probe, graph.probes.end()) << name;
      const std::vector<float> expected = HeadsLast(fixture.Floats(name), fixture.golden().tensor(name).shape);
      ExpectNear(values[static_cast<size_t>(probe->second)].f32, expected, TolerancesOf(fixture).probes * LargestEntry(expected), name);
    }
  }
  EXPECT_GE(num_compared, 14U);
}

}  // namespace

Fixture::Fixture(const std::string& name)
    : checkpoint_(checkpoint::Checkpoint::Open(kFixtures + name)),
      config_(checkpoint::HfConfig::Parse(checkpoint_->config_json(), name + "/config.json")),
      golden_(checkpoint::SafetensorsFile::Open(kFixtures + name + "/golden.safetensors")),
      model_(ParseModel(config_)) {}

std::vector<float> Fixture::Floats(const std::string& golden_name) const { return Elements<float>(golden_.tensor(golden_name)); }
std::vector<int32_t> Fixture::Ids(const std::string& golden_name) const { return Elements<int32_t>(golden_.tensor(golden_name)); }

std::vector<float> Fixture::ReadTensor(const std::string& name) const {
  const Shape shape = checkpoint_->shape(name);
  std::vector<float> data(static_cast<size_t>(shape.num_elements()));
  checkpoint_->ReadRows(name, 0, shape.size() == 1 ? 1 : shape.num_elements() / shape.back(), data);
  return data;
}

std::vector<Chunk> RunInChunks(const Interpreter& interpreter, const Graph& graph, const std::vector<int32_t>& ids) {
  std::vector<Chunk> chunks;
  graph::KvState kv;
  const auto size = static_cast<int64_t>(ids.size());
  for (int64_t begin = 0; begin < size; begin += graph.rows) {
    const int64_t rows = std::min(graph.rows, size - begin);
    std::vector<int32_t> positions(static_cast<size_t>(rows)), slots(positions.size(), 0), output_rows(positions.size());
    std::iota(positions.begin(), positions.end(), static_cast<int32_t>(begin));
    std::iota(output_rows.begin(), output_rows.end(), 0);
    std::vector<int32_t> rope_rows = positions;
    for (int32_t& row : rope_rows) row += size > graph.rope_switch ? static_cast<int32_t>(graph.rope_switch) : 0;
    if (graph.rope_follows_length) rope_rows.assign(rope_rows.size(), static_cast<int32_t>(size));
    const auto tokens = std::span(ids).subspan(static_cast<size_t>(begin), positions.size());
    chunks.push_back(
        {begin, rows,
         interpreter.Run({.tokens = tokens, .positions = positions, .slots = slots, .output_rows = output_rows, .rope_rows = rope_rows}, kv)});
  }
  return chunks;
}

void ExpectMatchesTransformers(const std::string& fixture_name) {
  const Fixture fixture(fixture_name);
  for (const std::string prompt : {"p0", "p1", "p2"}) {
    SCOPED_TRACE(fixture_name + " " + prompt);
    const std::vector<int32_t> ids = fixture.Ids(prompt + ".input_ids");
    const Graph graph = BuildFor(fixture, ids.size());
    const std::vector<Buffer> values = RunPrompt(fixture, graph, ids);
    ExpectNear(values[static_cast<size_t>(graph.logits)].f32, fixture.Floats(prompt + ".logits"), TolerancesOf(fixture).logits, "logits");
    if (prompt == "p1") ExpectProbes(fixture, graph, values);
  }
}

}  // namespace intaglio::models
