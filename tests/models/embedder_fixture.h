// The fixture folder of an embedder: its model, its weights for the interpreter, and what sentence-transformers computed.
#pragma once
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors.h"
#include "models/decoder.h"

namespace intaglio::models {

struct EmbedderFixture {
  std::unique_ptr<checkpoint::Checkpoint> checkpoint;
  checkpoint::SafetensorsFile golden;
  std::unique_ptr<Model> model;

  EmbedderFixture(const std::string& name, bool has_prefix) : EmbedderFixture(INTAGLIO_SOURCE_DIR "/tests/fixtures/" + name, name, has_prefix) {}

  [[nodiscard]] std::vector<float> Floats(const std::string& name) const {
    const TensorView tensor = golden.tensor(name);
    std::vector<float> values(tensor.bytes.size() / sizeof(float));
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    return values;
  }
  [[nodiscard]] std::vector<float> ReadTensor(const std::string& name) const {
    const Shape shape = checkpoint->shape(name);
    std::vector<float> data(static_cast<size_t>(shape.num_elements()));
    checkpoint->ReadRows(name, 0, shape.size() == 1 ? 1 : shape.num_elements() / shape.back(), data);
    return data;
  }

 private:
  EmbedderFixture(const std::string& folder, const std::string& name, bool has_prefix)
      : checkpoint(checkpoint::Checkpoint::Open(folder)), golden(checkpoint::SafetensorsFile::Open(folder + "/golden.safetensors")) {
    const auto config = checkpoint::HfConfig::Parse(checkpoint->config_json(), name + "/config.json");
    std::vector<EmbedderModule> modules;
    for (const auto& module : checkpoint->sentence_modules()) {
      modules.push_back({.type = module.type, .path = module.path, .config = checkpoint::HfConfig::Parse(module.config_json, module.path)});
    }
    model = ParseModel(config, {.embedder = ParseEmbedder(modules, config.Int("hidden_size"), "modules.json"), .has_prefix = has_prefix});
  }
};

}  // namespace intaglio::models
