// The bits of results, kept: the digests were written on one machine and hold on every other.
#pragma once
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "base/hash.h"

namespace intaglio::test {

// Compares with the digest that tests/parity/<file> has for `key`. INTAGLIO_UPDATE_DIGESTS=1 rewrites it, for a change of the numerics
// that is meant (and then changes every bundle's answers).
inline void ExpectDigest(const std::string& file, const std::string& key, std::span<const float> values) {
  const std::string path = INTAGLIO_SOURCE_DIR "/tests/parity/" + file;
  auto digests = nlohmann::json::object();
  if (std::ifstream in(path); in) in >> digests;
  const std::string digest = HashHex(std::as_bytes(values));
  if (std::getenv("INTAGLIO_UPDATE_DIGESTS") != nullptr) {
    digests[key] = digest;
    std::ofstream(path) << digests.dump(2) << '\n';
  }
  ASSERT_TRUE(digests.contains(key)) << "no digest of " << key << " in " << path;
  EXPECT_EQ(digests[key], digest);
}

}  // namespace intaglio::test
