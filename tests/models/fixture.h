// A fixture folder as the tests of models use it: its model, its weights for the interpreter, and what Transformers computed.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors.h"
#include "graph/interpreter.h"
#include "models/decoder.h"

namespace intaglio::models {

class Fixture {
 public:
  explicit Fixture(const std::string& name);
  [[nodiscard]] const Model& model() const { return *model_; }
  [[nodiscard]] const checkpoint::HfConfig& config() const { return config_; }
  [[nodiscard]] const checkpoint::SafetensorsFile& golden() const { return golden_; }
  [[nodiscard]] const checkpoint::Checkpoint& checkpoint() const { return *checkpoint_; }
  [[nodiscard]] std::vector<float> Floats(const std::string& golden_name) const;
  [[nodiscard]] std::vector<int32_t> Ids(const std::string& golden_name) const;
  [[nodiscard]] std::vector<float> ReadTensor(const std::string& name) const;

 private:
  std::unique_ptr<checkpoint::Checkpoint> checkpoint_;
  checkpoint::HfConfig config_;
  checkpoint::SafetensorsFile golden_;
  std::unique_ptr<Model> model_;
};

// Runs `ids` as rows of slot 0, all of them output rows, `rows` at a time from position 0 on, through a graph of that many rows.
// Returns each chunk's values.
struct Chunk {
  int64_t begin = 0, rows = 0;
  std::vector<graph::Buffer> values;
};
[[nodiscard]] std::vector<Chunk> RunInChunks(const graph::Interpreter& interpreter, const graph::Graph& graph, const std::vector<int32_t>& ids);

// Everything a fixture of these families has to show: all logits of all prompts within 5e-4, all probes of prompt 1 within 2e-5 of their
// largest entry, rotary tables within 1e-5, masks exactly. One call a family's test.
void ExpectMatchesTransformers(const std::string& fixture_name);

}  // namespace intaglio::models
