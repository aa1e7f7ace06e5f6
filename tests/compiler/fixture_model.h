// The tiny checkpoints of tests/fixtures as the compiler sees them, and what its graphs compute by the interpreter.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "compiler/pipeline.h"
#include "graph/graph.h"
#include "models/decoder.h"

namespace intaglio::compiler {

// One of each family, and of each way their layers differ: biases, tied heads, q/k norms, windows.
inline constexpr const char* kFixtures[]{"llama-tiny", "llama-bf16-tiny", "llama-untied-mqa-tiny", "llama-heads-not-divisible-tiny", "mistral-tiny",
                                         "qwen2-tiny", "qwen3-tiny",      "gemma3-text-tiny"};

struct FixtureModel {
  explicit FixtureModel(const std::string& name);
  [[nodiscard]] graph::Graph Build(Phase phase, int64_t rows, int64_t outputs, const graph::FormatPolicy& formats = {}) const;
  [[nodiscard]] std::vector<float> ReadTensor(const std::string& name) const;

  std::unique_ptr<checkpoint::Checkpoint> checkpoint;
  std::unique_ptr<models::Model> model;
};

[[nodiscard]] std::string FixturePath(const std::string& name);
// "qwen3_tiny": a fixture's name as part of a test's name.
[[nodiscard]] std::string TestName(std::string_view fixture);

// Logits of a graph of context encoding for a fixed prompt, as large as the graph has rows.
[[nodiscard]] std::vector<float> Logits(const FixtureModel& fixture, const graph::Graph& graph);
// Every element within a few roundings of f32: what a fused op no longer rounds to store.
void ExpectSameNumbers(const std::vector<float>& actual, const std::vector<float>& expected);

[[nodiscard]] size_t CountOps(const graph::Graph& graph, graph::Op op);
// The only node of the scope; fails the test if there is another number of them.
[[nodiscard]] const graph::Node& NodeIn(const graph::Graph& graph, std::string_view scope);
[[nodiscard]] const graph::Weight* FindWeight(const graph::Graph& graph, std::string_view name);

}  // namespace intaglio::compiler
