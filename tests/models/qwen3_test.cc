#include <gtest/gtest.h>

#include "tests/models/fixture.h"

namespace intaglio::models {

TEST(Qwen3, MatchesTransformersWithQueryAndKeyNorm) { ExpectMatchesTransformers("qwen3-tiny"); }

}  // namespace intaglio::models
