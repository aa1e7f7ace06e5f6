// The config.json of a fixture with some fields changed, for tests of what a family reads and refuses.
#pragma once
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "checkpoint/hf_config.h"
#include "intaglio/error.h"
#include "models/decoder.h"

namespace intaglio::models {

// Fields of `edits` replace the fixture's; "absent" removes one.
inline std::unique_ptr<Model> ParseEdited(const std::string& fixture, const nlohmann::json& edits) {
  std::ifstream file(INTAGLIO_SOURCE_DIR "/tests/fixtures/" + fixture + "/config.json");
  nlohmann::json config = nlohmann::json::parse(file);
  for (const auto& [key, value] : edits.items()) {
    if (value == "absent") {
      config.erase(key);
    } else {
      config[key] = value;
    }
  }
  return ParseModel(checkpoint::HfConfig::Parse(config.dump(), "config.json"));
}

inline graph::Graph BuildEdited(const std::string& fixture, const nlohmann::json& edits) {
  return ParseEdited(fixture, edits)->Build({.rows = 1, .outputs = 1, .max_context = 8});
}

// The message of the Error, of either code that config.json can be refused with; empty if it is accepted.
inline std::string RefusalOf(const std::string& fixture, const nlohmann::json& edits) {
  try {
    (void)BuildEdited(fixture, edits);
    return {};
  } catch (const Error& error) {
    EXPECT_TRUE(error.code() == ErrorCode::kDataLoss || error.code() == ErrorCode::kUnsupported) << error.what();
    EXPECT_TRUE(std::string_view(error.what()).starts_with("config.json")) << error.what();
    return error.what();
  }
}

}  // namespace intaglio::models
