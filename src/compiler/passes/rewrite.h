// What passes need to look at and change a graph.
#pragma once
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "compiler/pipeline.h"
#include "graph/graph.h"

namespace intaglio::compiler {

// How often every value is read (as an operand or a result of the graph).
[[nodiscard]] std::vector<int> CountUses(const graph::Graph& graph);
// Values that a pass must not make disappear: the probes, when they are kept.
[[nodiscard]] std::set<graph::ValueId> KeptProbes(const graph::Graph& graph, const PassOptions& options);
// Position in graph.nodes of the node that makes `value`; nullopt for weights, caches and inputs.
[[nodiscard]] std::optional<size_t> ProducerOf(const graph::Graph& graph, graph::ValueId value);
// "model.layers.0.mlp" of "model.layers.0.mlp.gate_proj".
[[nodiscard]] std::string ParentScope(const std::string& scope);
// A new f32 node value.
[[nodiscard]] graph::ValueId AddValue(graph::Graph& graph, Shape shape);
// The weight that a matmul multiplies with.
[[nodiscard]] const graph::Weight& WeightOf(const graph::Graph& graph, const graph::Node& matmul);
// A weight whose rows are those of `parts`, one after the other, as a new value. REQUIRES: same layout, format, columns and `add`.
[[nodiscard]] graph::ValueId StackWeights(graph::Graph& graph, const std::vector<graph::ValueId>& parts, const std::string& name);

}  // namespace intaglio::compiler
