// A bundle made by hand, small enough to break one field at a time: one plan a bucket, two calls, one KV layer.
#pragma once
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "bundle/bundle.h"

namespace intaglio::bundle {

inline constexpr uint64_t kWeightsBytes = 4096, kKvBytes = 2048, kArenaBytes = 1024;

struct SmallBundle {
  Manifest manifest;
  std::vector<Plan> plans;
};
// A context-encoding plan of 4 rows and a token-generation plan of 2, over the same weights.
[[nodiscard]] SmallBundle MakeSmallBundle();
// Writes it with a weights file of kWeightsBytes and a tokenizer.json.
void WriteBundle(const SmallBundle& bundle, const std::filesystem::path& path, bool force = false, const BundleWriter::Gate& gate = {});

}  // namespace intaglio::bundle
