// Where everything that all graphs of a bundle share lives: weights in the weights file, KV layers in the KV pool.
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "bundle/manifest.h"
#include "graph/graph.h"

namespace intaglio::compiler {

struct PlacedWeight {
  graph::Weight weight;
  int64_t rows = 0, cols = 0;     // a vector is one row; each matrix of a stack of experts begins on a block of 16 rows
  int64_t matrices = 1, matrix_rows = 0;   // the rows that exist: matrices * matrix_rows
  uint64_t offset = 0, bytes = 0;
};

struct WeightLayout {
  std::vector<PlacedWeight> weights;          // in order of first use: a step reads the file front to back
  std::map<std::string, size_t> index;        // by name
  uint64_t file_bytes = 0;
};

// The union of the graphs' weights, each in its own format.
[[nodiscard]] WeightLayout PlaceWeights(std::span<const graph::Graph> graphs);

struct KvLayout {
  std::vector<bundle::KvGroup> groups;
  std::vector<bundle::KvLayer> layers;        // by Graph::kv_caches index
  std::vector<bundle::StateEntry> states;     // by Graph::states index
  uint64_t pool_bytes = 0;
};

struct KvSizes {
  int64_t max_context = 0, max_slots = 0;
  int64_t largest_step = 0;                   // rows that one sequence may add in a step
  DType kv_dtype = DType::kF32;               // of keys and values: f32, bf16 or i8
  int64_t speculation = 0;                    // proposed tokens of a sequence, all of which may be rejected
};
// Layers of one window share a block table. Full attention holds the whole context, a sliding window only the blocks in reach. A recurrent
// state keeps the entries that a sequence can go on from after any step of token generation or speculation, however much of it is rejected:
// those of speculation + 1 rows, and what the first of them reads. `groups`: those of rank 0, which has every kind of layer: block tables are
// the same on all ranks.
[[nodiscard]] KvLayout PlaceKvCache(const graph::Graph& graph, const KvSizes& sizes, std::vector<bundle::KvGroup> groups = {});

}  // namespace intaglio::compiler
