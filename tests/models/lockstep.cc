#include "tests/models/lockstep.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <random>
#include <string>

#include "collectives/thread_group.h"
#include "layers/shard.h"
#include "tests/graph/lockstep.h"

namespace intaglio::models {
namespace {

using collectives::Collectives;
using graph::Buffer;
using graph::ExpertDispatch;
using graph::Graph;
using graph::Interpreter;
using graph::Op;
using graph::RankPlace;

constexpr int64_t kRows = 6, kContext = 32;
constexpr double kRounding = 0x1p-24;   // of a float, to nearest

struct Step {
  std::vector<int32_t> tokens, positions, slots, output_rows, rope_rows{};
};

// Tokens of all parts of the vocabulary: a prompt, then two single tokens; for embedders, two texts in one step.
std::vector<Step> StepsFor(const Graph& graph, int64_t vocab_size) {
  Step first{.tokens = {}, .positions = {0, 1, 2, 3, 4}, .slots = {1, 1, 1, 1, 1}, .output_rows = {0, 2, 4}};
  if (graph.is_embedder()) first = {.tokens = {}, .positions = {0, 1, 2, 0, 1, 2}, .slots = {0, 0, 0, 1, 1, 1}, .output_rows = {2, 5}};
  std::vector<Step> steps{first};
  if (!graph.is_embedder()) {
    for (int32_t position : {5, 6}) steps.push_back({.tokens = {}, .positions = {position}, .slots = {1}, .output_rows = {0}});
  }
  int64_t token = 0;
  for (Step& step : steps) {
    const int32_t length = step.positions.back() + 1;
    for (int32_t position : step.positions) {
      step.tokens.push_back(static_cast<int32_t>(token++ * 389 % vocab_size));
      step.rope_rows.push_back(graph.rope_follows_length ? length : position);
    }
  }
  return steps;
}

// What a graph gave, step by step.
struct Outcome {
  Graph graph;
  std::vector<std::vector<Buffer>> steps{};
  [[nodiscard]] const Buffer& of(size_t step, graph::ValueId value) const { return steps[step][static_cast<size_t>(value)]; }
};

struct Sharing {
  RankPlace place{};
  ExpertDispatch dispatch = ExpertDispatch::kAuto;
};

Outcome RunRank(const Subject& subject, const Sharing& sharing, const graph::RankExchange& exchange) {
  Outcome outcome{.graph = subject.model.Build(
                      {.rows = kRows, .outputs = kRows, .max_context = kContext, .place = sharing.place, .expert_dispatch = sharing.dispatch})};
  const Interpreter interpreter(outcome.graph, subject.read);
  graph::KvState kv;
  for (const Step& step : StepsFor(outcome.graph, subject.model.vocab_size())) {
    outcome.steps.push_back(interpreter.Run(
        {.tokens = step.tokens, .positions = step.positions, .slots = step.slots, .output_rows = step.output_rows, .rope_rows = step.rope_rows}, kv,
        exchange));
  }
  return outcome;
}

std::vector<Outcome> RunRanks(const Subject& subject, const Sharing& all) {
  std::vector<Outcome> outcomes(static_cast<size_t>(all.place.tp_degree));
  collectives::ThreadGroup group(all.place.tp_degree);
  group.Run([&](Collectives& rank) {
    Sharing own = all;
    own.place.rank = rank.rank();
    outcomes[static_cast<size_t>(rank.rank())] = RunRank(subject, own, graph::ExchangeOver(rank));
  });
  return outcomes;
}

// One rank sums in double and rounds once; of several, each rounds its part, and the tree up to three sums of them. So a sum over ranks is
// off by at most four roundings of the sum of its terms' sizes, which is taken to be within 16 times the value's largest entry. What comes
// before a sum passes its error on: norms, gates and softmax keep relative errors within a small factor. There are three such sums a layer
// at most, and the embedding's, which is exact.
double ToleranceFor(const Model& model) { return 3 * static_cast<double>(model.num_layers()) * 4 * 16 * kRounding; }

class Comparison {
 public:
  explicit Comparison(double tolerance) : tolerance_(tolerance) {}
  void Expect(const std::vector<float>& actual, const std::vector<float>& expected, const std::string& what) {
    ASSERT_EQ(actual.size(), expected.size()) << what;
    double largest = 0;
    for (float entry : expected) largest = std::max(largest, std::fabs(static_cast<double>(entry)));
    for (size_t i = 0; i < actual.size(); ++i) {
      const double error = std::fabs(static_cast<double>(actual[i]) - expected[i]) / largest;
      if (!(error <= tolerance_)) {
        ADD_FAILURE() << what << ": element " << i << " is " << actual[i] << ", one rank has " << expected[i] << "; largest entry " << largest;
        return;
      }
      if (error > worst_) worst_ = error, where_ = what;
    }
  }
  void Print(const std::string& degrees) const {
    std::printf("  %s: worst element is off by %.2g of its value's largest, of %.2g that may be (%s)\n", degrees.c_str(), worst_, tolerance_,
                where_.c_str());
  }

 private:
  const double tolerance_;
  double worst_ = 0;
  std::string where_ = "no value";
};

// The logits of an output row lie side by side on the ranks.
std::vector<float> GatherLogits(const std::vector<Outcome>& ranks, size_t step) {
  std::vector<float> all;
  const size_t rows = ranks.front().of(step, ranks.front().graph.ids).i32.size();
  for (size_t row = 0; row < rows; ++row) {
    for (const Outcome& rank : ranks) {
      const auto cols = static_cast<size_t>(rank.graph.value(rank.graph.logits).shape[1]);
      const auto begin = rank.of(step, rank.graph.logits).f32.begin() + static_cast<std::ptrdiff_t>(row * cols);
      all.insert(all.end(), begin, begin + static_cast<std::ptrdiff_t>(cols));
    }
  }
  return all;
}

void ExpectSameOutcome(const std::vector<Outcome>& ranks, const Outcome& alone, Comparison& comparison) {
  for (size_t step = 0; step < alone.steps.size(); ++step) {
    for (const Outcome& rank : ranks) {
      for (const auto& [name, value] : rank.graph.probes) {
        const Buffer &actual = rank.of(step, value), &expected = alone.of(step, alone.graph.probes.at(name));
        EXPECT_EQ(actual.i32, expected.i32) << name;
        comparison.Expect(actual.f32, expected.f32, name);
      }
      if (alone.graph.is_embedder()) {
        comparison.Expect(rank.of(step, rank.graph.embeddings).f32, alone.of(step, alone.graph.embeddings).f32, "embeddings");
      } else {
        EXPECT_EQ(rank.of(step, rank.graph.ids).i32, alone.of(step, alone.graph.ids).i32);
      }
    }
    if (!alone.graph.is_embedder()) comparison.Expect(GatherLogits(ranks, step), alone.of(step, alone.graph.logits).f32, "logits");
  }
}

// Where ranks meet, as text.
std::vector<std::string> Meetings(const Graph& graph) {
  std::vector<std::string> meetings;
  for (const graph::Node& node : graph.nodes) {
    constexpr std::array kTogether{Op::kAllReduce, Op::kAllGather, Op::kExpertExchange, Op::kRowGather, Op::kSample};
    if (std::ranges::find(kTogether, node.op) == kTogether.end()) continue;
    const Shape& shape = graph.value(node.outputs[0]).shape;
    meetings.push_back(node.scope + " " + std::string(Name(node.op)) + " " + std::to_string(shape[0]) + " x " + std::to_string(shape[1]));
  }
  return meetings;
}

std::vector<Sharing> SharingsFor(const Graph& alone, int tp_degree) {
  const auto with = [&](int ep_degree, ExpertDispatch dispatch) {
    return Sharing{.place = {.rank = 0, .tp_degree = tp_degree, .ep_degree = ep_degree}, .dispatch = dispatch};
  };
  if (std::ranges::find(alone.nodes, Op::kRoute, &graph::Node::op) == alone.nodes.end())
    return {with(layers::DefaultEpDegree(tp_degree), ExpertDispatch::kAuto)};
  std::vector<Sharing> sharings;
  for (int degree : {1, 2, 4, 8}) {
    if (tp_degree % degree == 0) sharings.push_back(with(degree, ExpertDispatch::kReduce));
    if (tp_degree == degree) sharings.push_back(with(degree, ExpertDispatch::kExchange));
  }
  return sharings;
}

}  // namespace

Interpreter::ReadTensor InventTensors(const Model& model) {
  auto sizes = std::make_shared<std::map<std::string, int64_t>>();   // shared: the function is copied
  for (const graph::Weight& weight : model.Build({.rows = 1, .outputs = 1, .max_context = kContext}).weights) {
    for (const graph::WeightSource& source : weight.sources) {
      (*sizes)[source.name] = source.shape.num_elements();
      if (!source.scales.empty()) (*sizes)[source.scales] = source.shape.num_elements() / source.shape.back();
    }
  }
  return [sizes](const std::string& name) {
    std::seed_seq seed(name.begin(), name.end());
    std::mt19937 random(seed);
    std::vector<float> values(static_cast<size_t>(sizes->at(name)));
    for (float& value : values) {
      const auto bits = static_cast<float>(random() >> 8);
      value = name.ends_with("_blocks")   ? std::floor(bits * 0x1p-16f)            // two 4-bit floats
              : name.ends_with("_scales") ? 122 + std::floor(bits * 0x1p-22f)      // 1/32 to 1/4
                                          : bits * 0x1p-25f - 0.25f;
    }
    return values;
  };
}

void ExpectRanksAgree(const Subject& subject, int tp_degree) {
  const Outcome alone = RunRank(subject, {}, {});
  for (const Sharing& sharing : SharingsFor(alone.graph, tp_degree)) {
    const std::string degrees = "TP " + std::to_string(tp_degree) + ", EP " + std::to_string(sharing.place.ep_degree) +
                                (sharing.dispatch == ExpertDispatch::kExchange ? ", experts by exchange" : "");
    SCOPED_TRACE(degrees);
    const std::vector<Outcome> ranks = RunRanks(subject, sharing);
    for (const Outcome& rank : ranks) EXPECT_EQ(Meetings(rank.graph), Meetings(ranks.front().graph)) << rank.graph.place.rank;
    Comparison comparison(ToleranceFor(subject.model));
    ExpectSameOutcome(ranks, alone, comparison);
    comparison.Print(degrees);
  }
}

}  // namespace intaglio::models
