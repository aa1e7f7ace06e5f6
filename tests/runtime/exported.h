// Fixtures exported once per test program, and their golden prompts.
#pragma once
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "intaglio/export.h"
#include "tests/base/temporary_folder.h"

namespace intaglio::test {

inline std::filesystem::path FixturePath(const std::string& name) { return std::filesystem::path(INTAGLIO_SOURCE_DIR) / "tests/fixtures" / name; }

// Three slots, a context of 192, chunks of 16 and 64 rows, batches of 1, 2 and (all slots) 3; no speculation unless asked for.
inline std::filesystem::path ExportedBundle(const std::string& fixture, int32_t speculation = 0, int32_t num_ranks = 1) {
  static const TemporaryFolder root;
  const std::filesystem::path bundle = root.path() / (fixture + "." + std::to_string(speculation) + "." + std::to_string(num_ranks));
  if (!std::filesystem::exists(bundle)) {
    ExportOptions options;
    options.source = FixturePath(fixture);
    options.output = bundle;
    options.max_context = 192;
    options.max_batch = 3;
    options.prefill_buckets = {16, 64};
    options.batch_buckets = {1, 2};
    options.speculation = speculation;
    options.tp_degree = num_ranks;
    (void)Export(options);
  }
  return bundle;
}

struct GoldenPrompt {
  std::vector<int32_t> input_ids, greedy_ids;
};

inline std::vector<GoldenPrompt> GoldenPrompts(const std::string& fixture) {
  std::vector<GoldenPrompt> prompts;
  const auto golden = nlohmann::json::parse(std::ifstream(FixturePath(fixture) / "golden.json"));
  for (const auto& prompt : golden.at("prompts")) prompts.push_back({prompt.at("input_ids"), prompt.at("greedy_ids")});
  return prompts;
}

}  // namespace intaglio::test
