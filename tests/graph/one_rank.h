// The graph of one of several ranks, by hand: what it reads, and what other ranks bring, is the test's to say.
#pragma once
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "graph/builder.h"
#include "graph/interpreter.h"
#include "graph/verify.h"
#include "tests/graph/small_graph.h"

namespace intaglio::graph {

inline constexpr RankPlace kPlace{.rank = 1, .tp_degree = 4, .ep_degree = 2};

inline Segments Whole(int64_t k) {
  Segments segments;
  segments.fill(k);
  segments[0] = 0;
  return segments;
}

// The graph of rank 1 of 4. Row i of x is row i of a table that the test gives; other ranks bring what the test says.
class OneRank {
 public:
  OneRank(int64_t rows, int64_t cols, std::vector<float> table, RankPlace place = kPlace) {
    weights_["table"] = std::move(table);
    graph.rows = graph.outputs = rows, graph.max_context = 8, graph.place = place;
    builder_ = std::make_unique<Builder>(graph);
    const auto ids = static_cast<int64_t>(weights_["table"].size()) / cols;
    part = Embedding(b(), b().Weight("table", {ids, cols}, Shard::kVocab, Layout::kMatmul), 1.0f);
    x = AllReduce(b(), part);
    exchange = {.all_reduce = [](std::span<float>) {}, .all_gather = [](std::span<const float> own) { return std::vector(own.begin(), own.end()); }};
  }
  [[nodiscard]] const Builder& b() const { return *builder_; }
  ValueRef Weight(const std::string& name, Shape shape, Layout layout, std::vector<float> data = {}) {
    weights_[name] = std::move(data);
    return b().Weight(name, std::move(shape), Shard::kReplicated, layout);
  }
  // Gives the graph results that do not depend on the op under test.
  void Finish() {
    if (graph.logits != kNoValue) return;
    graph.logits = GatherRows(b(), x).id;
    const Sampled sampled = Sample(b(), {&graph, graph.logits});
    graph.ids = sampled.ids.id, graph.logprobs = sampled.logprobs.id;
  }
  // Row i reads token i, unless told otherwise.
  std::vector<Buffer> Run(std::vector<int32_t> tokens = {}) {
    Finish();
    std::vector<int32_t> rows(static_cast<size_t>(graph.rows)), slots(rows.size(), 0);
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int32_t>(i);
    if (tokens.empty()) tokens = rows;
    KvState kv;
    const Interpreter interpreter(graph, [this](const std::string& name) { return weights_.at(name); });
    return interpreter.Run({.tokens = tokens, .positions = rows, .slots = slots, .output_rows = rows}, kv, exchange);
  }
  std::vector<float> ValueOf(ValueRef value) { return Run()[static_cast<size_t>(value.id)].f32; }
  std::string FaultOfGraph() {
    Finish();
    return FaultOf([&] { Verify(graph, "test"); });
  }

  Graph graph;
  ValueRef part, x;   // before and after the all-reduce
  RankExchange exchange;

 private:
  std::unique_ptr<Builder> builder_;
  std::map<std::string, std::vector<float>> weights_;
};

inline bool IsSameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

inline bool Says(const std::string& fault, std::string_view what) {
  if (fault.find(what) != std::string::npos) return true;
  ADD_FAILURE() << "\"" << fault << "\" does not say \"" << what << "\"";
  return false;
}

// Experts of three rows that choose one of four each: 2, 0, 3. In expert order rows are 1, 0, 2.
struct Routed {
  explicit Routed(OneRank& rank) {
    const std::vector<ValueRef> routed = rank.b().Emit(Op::kRoute, {rank.x}, RouteAttrs{.num_experts = 4, .top_k = 1});
    const std::vector<ValueRef> grouped = rank.b().Emit(Op::kExpertGroup, {routed[0]}, ExpertAttrs{.num_experts = 4});
    ids = routed[0], positions = grouped[0], offsets = grouped[1];
    rows = rank.b().Emit(Op::kExpertGather, {rank.x, positions}, ExpertAttrs{}).front();
  }
  ValueRef ids, positions, offsets, rows;
};
inline const std::vector<float> kChoices{0, 1, 9, 0, 8, 0, 2, 0, 0, 0, 3, 7};

}  // namespace intaglio::graph
