// Graph -> Plan: one kernel call per node (views cost none), every value an arena offset.
#pragma once
#include "bundle/plan.h"
#include "compiler/layout.h"
#include "graph/graph.h"

namespace intaglio::compiler {

struct LoweringContext {
  const WeightLayout& weights;
  const KvLayout& kv;
  bool keep_probes = false;
};

// REQUIRES: `graph` went through RunPipeline, and its weights and caches are in the layouts.
[[nodiscard]] bundle::Plan LowerToCpu(const graph::Graph& graph, const LoweringContext& context);

}  // namespace intaglio::compiler
