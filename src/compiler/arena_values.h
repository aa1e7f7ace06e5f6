// Which bytes each value of a graph uses: storages in the arena, and values as views of them. A slice is a view of what it slices;
// where a kernel may write over an operand that dies with it, the result is a view of that operand.
#pragma once
#include <cstdint>
#include <set>
#include <vector>

#include "bundle/plan.h"
#include "compiler/memory_planner.h"
#include "graph/graph.h"

namespace intaglio::compiler {

class ArenaValues {
 public:
  // `kept`: values that must hold their contents to the end of the step (results and probes).
  ArenaValues(const graph::Graph& graph, const std::set<graph::ValueId>& kept);

  // Memory for the duration of one node. Returns its handle for Workspace(). Before Plan().
  size_t AddWorkspace(size_t node, uint64_t bytes);
  // Fixes all offsets.
  void Plan();

  [[nodiscard]] uint64_t arena_bytes() const { return plan_.arena_bytes; }
  // REQUIRES: Plan() was called
  [[nodiscard]] bundle::Operand Operand(graph::ValueId value) const;
  [[nodiscard]] bundle::Operand Workspace(size_t handle) const;

 private:
  struct View {
    size_t storage = 0;
    int64_t column = 0;    // first column within the storage
  };
  [[nodiscard]] bool IsArena(graph::ValueId value) const;
  [[nodiscard]] bool MayOverwrite(size_t node, graph::ValueId input) const;
  [[nodiscard]] graph::ValueId InPlaceInput(size_t node) const;
  void PlaceOutputs(size_t node);
  void AddStorage(size_t first_node, graph::ValueId value);

  const graph::Graph& graph_;
  const std::set<graph::ValueId>& kept_;
  std::vector<std::vector<size_t>> readers_;     // nodes, by value
  std::vector<View> views_;                      // by value
  std::vector<int64_t> strides_;                 // in elements, by storage
  std::vector<Lifetime> lifetimes_;              // by storage
  ArenaPlan plan_;
};

}  // namespace intaglio::compiler
