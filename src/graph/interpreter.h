// The oracle: runs any verified graph in plain loops, one op after the other. Values are stored as f32, sums are carried in double, so
// its results stand for what a graph means, within rounding, and not for the bits of any kernel.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "graph/graph.h"

namespace intaglio::graph {

// Live rows of one step: at most the graph's rows and outputs.
struct StepInputs {
  std::span<const int32_t> tokens, positions, slots;   // one a row
  std::span<const int32_t> output_rows;                // rows whose logits are wanted
  std::span<const int32_t> rope_rows{};                // one a row, for graphs with a rope_switch
  std::span<const float> activation{};                 // [rows, columns], for graphs that begin with one
};

// What the sequences so far left behind: (layer, slot, position) -> that position's key and value, all heads side by side.
struct KvEntry {
  std::vector<float> k, v;
  std::map<std::string, std::vector<float>> states{};   // the layer's recurrent states after that position
};
using KvState = std::map<std::tuple<int32_t, int32_t, int32_t>, KvEntry>;

// One value of a step, live rows only. Integer values (step inputs, ids) are in `i32`, others in `f32`; KV caches and weights are empty.
struct Buffer {
  std::vector<float> f32;
  std::vector<int32_t> i32;
};

// How the interpreters of several ranks, which run the same step at once, meet. Every call is one that all ranks make.
struct RankExchange {
  std::function<void(std::span<float>)> all_reduce;   // replaces the values by their sum over all ranks
  std::function<std::vector<float>(std::span<const float>)> all_gather;   // what all ranks brought, in their order; sizes may differ
};

class Interpreter {
 public:
  // The elements of a tensor of the checkpoint, row-major.
  using ReadTensor = std::function<std::vector<float>(const std::string& name)>;
  // Replaces a matrix' elements by what its format holds of them.
  using RoundWeight = std::function<void(const Weight& weight, std::span<float> elements)>;

  // Verifies the graph and reads its weights, which are the checkpoint's unless they are rounded. `graph` outlives the interpreter. Throws Error kDataLoss for a tensor of another size.
  Interpreter(const Graph& graph, const ReadTensor& read, const RoundWeight& round = {});

  // Runs one step and returns every value by id. Sample gives the most likely id (the lowest on a tie); its logprobs stay zero.
  // A rank's `kv` has its own heads only; rows of experts that it does not have, and of other ranks' shares, are not numbers.
  // Throws Error kInvalidArgument for rows that do not fit: too many, outside the vocabulary or context, without earlier positions.
  // Throws std::logic_error for the graph of one of several ranks without an exchange.
  [[nodiscard]] std::vector<Buffer> Run(const StepInputs& step, KvState& kv, const RankExchange& exchange = {}) const;

 private:
  const Graph& graph_;
  std::vector<std::vector<float>> weights_;   // by index into Graph::weights
};

}  // namespace intaglio::graph
