// What the tests of text/ share: the fixture folders that Transformers made goldens for (tests/fixtures/README.md describes them),
// folders of a test's own, and errors.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "tests/base/temporary_folder.h"

namespace intaglio::text {

using Json = nlohmann::ordered_json;

inline const std::filesystem::path kFixtures = INTAGLIO_SOURCE_DIR "/tests/fixtures";

// Folders whose golden.json has `section` and that have a tokenizer, by name.
inline std::vector<std::string> FixturesWith(const char* section) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFixtures)) {
    if (!std::filesystem::exists(entry.path() / "golden.json") || !std::filesystem::exists(entry.path() / "tokenizer.json")) continue;
    std::ifstream golden(entry.path() / "golden.json");
    if (Json::parse(golden).contains(section)) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

inline Json Golden(const std::string& fixture) {
  std::ifstream golden(kFixtures / fixture / "golden.json");
  return Json::parse(golden);
}

// "llama-tiny" as a test name may be spelled.
inline std::string TestName(std::string fixture) {
  std::replace(fixture.begin(), fixture.end(), '-', '_');
  return fixture;
}

// The message and code of the error that `action` throws.
template <typename Action>
std::pair<ErrorCode, std::string> Caught(Action action) {
  try {
    action();
  } catch (const Error& error) { return {error.code(), error.what()}; }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

}  // namespace intaglio::text
