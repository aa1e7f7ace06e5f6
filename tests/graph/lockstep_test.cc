// Ranks together: interpreters in lockstep end in what one interpreter computes alone. All numbers are small integers, which f32 adds
// exactly in any order, so results are compared bit for bit.
#include "tests/graph/lockstep.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <utility>

#include "graph/builder.h"
#include "intaglio/error.h"

namespace intaglio::graph {
namespace {

constexpr int64_t kRows = 5, kHidden = 12, kVocab = 40, kInner = 20, kExperts = 6, kTopK = 2, kExpertInner = 16;

// Border s is at floor(units * s / 8) units of `unit` columns; of few units some segments are empty.
Segments Cut(int64_t units, int64_t unit) {
  Segments segments{};
  for (int64_t s = 0; s <= kNumSegments; ++s) segments[static_cast<size_t>(s)] = units * s / kNumSegments * unit;
  return segments;
}

// What a rank has of what `segments` cut: columns [begin, end), and its own segments as borders from 0 on.
struct Own {
  int64_t begin = 0, end = 0, leaves = 0;
  Segments segments{};

  Own(const Segments& all, const RankPlace& place) : leaves(place.num_leaves()) {
    begin = all[static_cast<size_t>(place.first_segment())], end = all[static_cast<size_t>(place.end_segment())];
    for (size_t s = 0; s < segments.size(); ++s)
      segments[s] = all[std::min<size_t>(static_cast<size_t>(place.first_segment()) + s, static_cast<size_t>(place.end_segment()))] - begin;
  }
  [[nodiscard]] int64_t size() const { return end - begin; }
};

// The columns at which rank r's begin.
Segments Borders(const Segments& all, int tp_degree) {
  Segments borders;
  borders.fill(all.back());
  for (int rank = 0; rank < tp_degree; ++rank) borders[static_cast<size_t>(rank)] = Own(all, {.rank = rank, .tp_degree = tp_degree}).begin;
  return borders;
}

// Element i of a tensor: a whole number from -3 to 3 that depends on its name.
std::vector<float> Numbers(const std::string& name) {
  static const std::map<std::string, int64_t> kSizes{{"embed", kVocab * kHidden},
                                                     {"up", kInner * kHidden},
                                                     {"up_bias", kInner},
                                                     {"norm", kInner},
                                                     {"down", kHidden * kInner},
                                                     {"down_bias", kHidden},
                                                     {"router", kExperts * kHidden},
                                                     {"expert_up", kExperts * kExpertInner * kHidden},
                                                     {"expert_down", kExperts * kHidden * kExpertInner},
                                                     {"expert_bias", kExperts * kHidden}};
  uint32_t state = 0;
  for (char letter : name) state = state * 31 + static_cast<uint32_t>(letter);
  std::vector<float> numbers;
  for (int64_t i = 0; i < kSizes.at(name); ++i) {
    state = state * 1664525 + 1013904223;
    numbers.push_back(static_cast<float>(static_cast<int32_t>((state >> 16) % 7) - 3));
  }
  return numbers;
}

ValueRef Rows(const Builder& b, const std::string& name, Shape whole, const Own& own) {
  Shape shape = whole;
  shape[0] = own.size();
  const WeightSource source{.name = name, .shape = whole, .first_row = own.begin, .num_rows = own.size()};
  return b.Declare({.name = name, .shape = shape, .layout = whole.size() == 1 ? Layout::kVector : Layout::kMatmul, .sources = {source}});
}

ValueRef Columns(const Builder& b, const std::string& name, const Shape& whole, const Own& own) {
  const WeightSource source{.name = name, .shape = whole, .first_k = own.begin, .num_k = own.size()};
  return b.Declare({.name = name, .shape = {whole[0], own.size()}, .sources = {source}});
}

Graph EmptyGraph(RankPlace place) {
  Graph graph;
  graph.rows = graph.outputs = kRows, graph.max_context = kRows, graph.place = place;
  return graph;
}

ValueRef Summed(const Builder& b, ValueRef part) { return b.place().is_alone() ? part : AllReduce(b, part); }

ValueRef Embedded(const Builder& b) {
  const Own ids(Cut(kVocab / 4, 4), b.place());
  return Summed(b, Embedding(b, Rows(b, "embed", {kVocab, kHidden}, ids), 1, ids.begin));
}

void Finish(const Builder& b, Graph& graph, ValueRef x) {
  const Own ids(Cut(kVocab / 4, 4), b.place());
  const ValueRef logits = MatMul(b, {.x = GatherRows(b, x), .weight = Rows(b, "embed", {kVocab, kHidden}, ids)}, Cut(kHidden, 1));
  const Sampled sampled = Sample(b, logits, b.place().is_alone() ? 0 : kVocab);
  graph.logits = logits.id, graph.ids = sampled.ids.id, graph.logprobs = sampled.logprobs.id;
}

// Inner columns are five units of four: eight ranks do not all have some.
Graph DenseGraph(RankPlace place) {
  Graph graph = EmptyGraph(place);
  const Builder b(graph);
  const Segments cut = Cut(kInner / 4, 4);
  const Own own(cut, place);
  const ValueRef x = b.Probe("x", Embedded(b)), bias = b.Weight("down_bias", {kHidden}, Shard::kReplicated, Layout::kVector);
  ValueRef sum, sums;
  if (own.size() == 0) {
    sum = Zeros(b, kHidden), sums = Zeros(b, 1);
    (void)AllGather(b, {}, Borders(cut, place.tp_degree));
  } else {
    const ValueRef up =
        MatMul(b, {.x = x, .weight = Rows(b, "up", {kInner, kHidden}, own), .bias = Rows(b, "up_bias", {kInner}, own)}, Cut(kHidden, 1));
    const ValueRef inner = Mul(b, up, up);
    if (!place.is_alone()) b.Probe("gathered", AllGather(b, inner, Borders(cut, place.tp_degree)));
    sum = MatMul(b, {.x = inner, .weight = Columns(b, "down", {kHidden, kInner}, own)}, own.segments, own.leaves);
    if (!place.is_alone()) sums = SquareSum(b, up, {.segments = own.segments, .leaves = own.leaves});
    b.Probe("up", up);
    if (place.is_alone()) b.Probe("gathered", inner);
  }
  const ValueRef y = b.Probe("y", AddBias(b, Summed(b, sum), bias));
  if (!place.is_alone()) sums = AllReduce(b, sums);
  if (own.size() > 0) {
    const ValueRef up{&graph, graph.probes.at("up")}, weight = Rows(b, "norm", {kInner}, own);
    b.Probe("normed",
            place.is_alone() ? RmsNorm(b, up, weight, {.eps = 0.5f, .width = kInner}) : NormBy(b, up, sums, weight, {.eps = 0.5f, .width = kInner}));
  }
  Finish(b, graph, y);
  return graph;
}

struct Step {
  std::vector<int32_t> tokens{0, 39, 17, 17, 8}, positions{0, 1, 2, 3, 4}, slots{0, 0, 0, 0, 0}, output_rows{0, 1, 2, 3, 4};
  [[nodiscard]] StepInputs inputs() const { return {.tokens = tokens, .positions = positions, .slots = slots, .output_rows = output_rows}; }
};

// All ranks of one degree beside one rank that has all.
struct Together {
  template <typename BuildFunction>
  Together(int tp_degree, int ep_degree, const BuildFunction& build) : alone(build(RankPlace{})) {
    for (int rank = 0; rank < tp_degree; ++rank) graphs.push_back(build({.rank = rank, .tp_degree = tp_degree, .ep_degree = ep_degree}));
    std::vector<KvState> kv(graphs.size());
    const Step step;
    values = RunLockstep(graphs, Numbers, step.inputs(), kv);
    expected = Interpreter(alone, Numbers).Run(step.inputs(), kv[0]);
  }
  [[nodiscard]] std::vector<float> Of(size_t rank, const std::string& probe) const {
    return values[rank][static_cast<size_t>(graphs[rank].probes.at(probe))].f32;
  }
  [[nodiscard]] std::vector<float> Expected(const std::string& probe) const { return expected[static_cast<size_t>(alone.probes.at(probe))].f32; }

  // Every rank has all of the value.
  void ExpectEverywhere(const std::string& probe) const {
    const std::vector<float> whole = Expected(probe);
    for (size_t rank = 0; rank < graphs.size(); ++rank) {
      if (!graphs[rank].probes.contains(probe)) continue;
      const std::vector<float> own = Of(rank, probe);
      ASSERT_EQ(own.size(), whole.size()) << probe;
      EXPECT_EQ(std::memcmp(own.data(), whole.data(), own.size() * sizeof(float)), 0) << probe << " of rank " << rank;
    }
  }
  // Rank r has the columns of its segments of `cut`.
  void ExpectSplit(const std::vector<ValueId>& ids, ValueId whole, const Segments& cut) const {
    for (size_t rank = 0; rank < graphs.size(); ++rank) {
      const Own own(cut, graphs[rank].place);
      if (own.size() == 0) continue;
      std::vector<float> columns;
      const std::vector<float>& all = expected[static_cast<size_t>(whole)].f32;
      for (size_t row = 0; row < static_cast<size_t>(kRows); ++row) {
        const auto begin = all.begin() + static_cast<int64_t>(row) * cut.back();
        columns.insert(columns.end(), begin + own.begin, begin + own.end);
      }
      EXPECT_EQ(values[rank][static_cast<size_t>(ids[rank])].f32, columns) << "rank " << rank;
    }
  }

  Graph alone;
  std::vector<Graph> graphs;
  std::vector<std::vector<Buffer>> values;   // by rank and id
  std::vector<Buffer> expected;
};

void ExpectSameAnswer(const Together& together) {
  std::vector<ValueId> logits;
  for (const Graph& graph : together.graphs) logits.push_back(graph.logits);
  together.ExpectSplit(logits, together.alone.logits, Cut(kVocab / 4, 4));
  for (size_t rank = 0; rank < together.graphs.size(); ++rank) {
    EXPECT_EQ(together.values[rank][static_cast<size_t>(together.graphs[rank].ids)].i32,
              together.expected[static_cast<size_t>(together.alone.ids)].i32);
  }
}

// Routed experts: up, its square, down with a bias, summed. Weights of the choices are left out, as they are no whole numbers.
struct Moe {
  Moe(const Builder& builder, ValueRef input) : b(builder), x(input), place(builder.place()) {
    const ValueRef logits =
        MatMul(b, {.x = x, .weight = b.Weight("router", {kExperts, kHidden}, Shard::kReplicated, Layout::kMatmul)}, Cut(kHidden, 1));
    const std::vector<ValueRef> routed = b.Emit(Op::kRoute, {logits}, RouteAttrs{.num_experts = kExperts, .top_k = kTopK});
    const std::vector<ValueRef> grouped = b.Emit(Op::kExpertGroup, {routed[0]}, ExpertAttrs{.num_experts = kExperts});
    ids = routed[0], positions = grouped[0], offsets = grouped[1];
    attrs = {.num_experts = kExperts};
    attrs.first_expert = kExperts * place.first_expert_group() / kNumSegments;
    attrs.own_experts = kExperts * (place.first_expert_group() + place.num_expert_groups()) / kNumSegments - attrs.first_expert;
  }

  ValueRef Sum() const {
    const bool is_whole = place.expert_tp() == 1;   // the inside of an expert
    const Own own(Cut(kExpertInner / 2, 2), place.within_expert());
    ValueRef down = attrs.own_experts == 0 ? ValueRef{} : Down(own, is_whole);
    if (!is_whole) {
      if (down.id == kNoValue) down = Zeros(b, kHidden, kTopK);
      if (place.ep_degree > 1) down = ExpertIsolate(b, down, offsets, attrs);
      const ValueRef bias = b.Declare(Stack("expert_bias", Layout::kTable, {kExperts, kHidden}, {}));
      return Combine(ExpertBias(b, AllReduce(b, down), offsets, bias), {.num_experts = kExperts});
    }
    if (down.id == kNoValue) return AllReduce(b, Zeros(b, kHidden));
    return Summed(b, Combine(down, {.num_experts = kExperts, .first_group = place.first_expert_group(), .num_groups = place.num_expert_groups()}));
  }

 private:
  [[nodiscard]] ValueRef Combine(ValueRef y, const ExpertAttrs& of) const { return b.Emit(Op::kExpertCombine, {y, positions, ids}, of).front(); }
  // Own experts, whose matrices are [rows, cols] in the checkpoint's tensor [experts, rows, cols].
  [[nodiscard]] graph::Weight Stack(const std::string& name, Layout layout, Shape shape, const std::vector<WeightSource>& parts) const {
    graph::Weight weight{.name = name, .shape = std::move(shape), .layout = layout, .sources = parts};
    if (parts.empty()) weight.sources = {{.name = name, .shape = weight.shape}};
    return weight;
  }
  [[nodiscard]] ValueRef Down(const Own& own, bool has_bias) const {
    const int64_t first = attrs.first_expert, count = attrs.own_experts;
    std::vector<WeightSource> up, down;
    for (int64_t expert = first; expert < first + count; ++expert) {
      const Shape up_shape{kExperts, kExpertInner, kHidden}, down_shape{kExperts, kHidden, kExpertInner};
      up.push_back({.name = "expert_up", .shape = up_shape, .first_row = expert * kExpertInner + own.begin, .num_rows = own.size()});
      down.push_back({.name = "expert_down",
                      .shape = down_shape,
                      .first_row = expert * kHidden,
                      .num_rows = kHidden,
                      .first_k = own.begin,
                      .num_k = own.size()});
    }
    const ValueRef gathered = b.Emit(Op::kExpertGather, {x, positions}, ExpertAttrs{}).front();
    ExpertAttrs up_attrs = attrs, down_attrs = attrs;
    up_attrs.segments = Cut(kHidden, 1), down_attrs.segments = own.segments, down_attrs.leaves = own.leaves, down_attrs.has_bias = has_bias;
    const ValueRef up_weight = b.Declare(Stack("expert_up", Layout::kExperts, {count, own.size(), kHidden}, up));
    const ValueRef inner = b.Emit(Op::kExpertMatMul, {gathered, up_weight, offsets}, up_attrs).front();
    std::vector<ValueRef> operands{Mul(b, inner, inner), b.Declare(Stack("expert_down", Layout::kExperts, {count, kHidden, own.size()}, down)),
                                   offsets};
    const WeightSource bias{.name = "expert_bias", .shape = {kExperts, kHidden}, .first_row = first, .num_rows = count};
    if (has_bias) operands.push_back(b.Declare(Stack("expert_bias", Layout::kTable, {count, kHidden}, {bias})));
    return b.Emit(Op::kExpertMatMul, operands, down_attrs).front();
  }

  const Builder& b;
  ValueRef x, ids, positions, offsets;
  RankPlace place;
  ExpertAttrs attrs;
};

Graph MoeGraph(RankPlace place) {
  Graph graph = EmptyGraph(place);
  const Builder b(graph);
  Finish(b, graph, b.Probe("y", Moe(b, Embedded(b)).Sum()));
  return graph;
}

class Lockstep : public testing::TestWithParam<int> {};
class LockstepExperts : public testing::TestWithParam<std::pair<int, int>> {};

}  // namespace

TEST_P(Lockstep, EmbedsTokensOfAllRanks) { Together(GetParam(), 1, DenseGraph).ExpectEverywhere("x"); }
TEST_P(Lockstep, SumsWhatRanksHaveOfK) { Together(GetParam(), 1, DenseGraph).ExpectEverywhere("y"); }
TEST_P(Lockstep, GathersColumns) { Together(GetParam(), 1, DenseGraph).ExpectEverywhere("gathered"); }
TEST_P(Lockstep, SamplesFromAllLogits) { ExpectSameAnswer(Together(GetParam(), 1, DenseGraph)); }

TEST_P(Lockstep, NormalisesColumnsOfAllRanks) {
  const Together together(GetParam(), 1, DenseGraph);
  std::vector<ValueId> normed;
  for (const Graph& graph : together.graphs) normed.push_back(graph.probes.contains("normed") ? graph.probes.at("normed") : kNoValue);
  together.ExpectSplit(normed, together.alone.probes.at("normed"), Cut(kInner / 4, 4));
}

INSTANTIATE_TEST_SUITE_P(Degrees, Lockstep, testing::Range(2, 9));

TEST_P(LockstepExperts, EndInOneRanksSum) {
  const Together together(GetParam().first, GetParam().second, MoeGraph);
  together.ExpectEverywhere("y");
  ExpectSameAnswer(together);
}

INSTANTIATE_TEST_SUITE_P(Degrees, LockstepExperts,
                         testing::Values(std::pair(2, 2), std::pair(4, 4), std::pair(8, 8), std::pair(3, 1), std::pair(8, 1), std::pair(4, 2),
                                         std::pair(6, 2), std::pair(8, 4)),
                         [](const auto& info) { return "Tp" + std::to_string(info.param.first) + "Ep" + std::to_string(info.param.second); });

TEST(LockstepFailure, OfOneRankEndsAll) {
  std::vector<Graph> graphs;
  for (int rank = 0; rank < 2; ++rank) graphs.push_back(DenseGraph({.rank = rank, .tp_degree = 2}));
  const auto read = [](const std::string& name) { return name == "up_bias" ? std::vector<float>(3) : Numbers(name); };
  std::vector<KvState> kv(2);
  const Step step;
  EXPECT_THROW((void)RunLockstep(graphs, read, step.inputs(), kv), Error);
}

}  // namespace intaglio::graph
