#include <gtest/gtest.h>

#include "tests/models/fixture.h"

namespace intaglio::models {

TEST(Qwen3Moe, MatchesTransformersWithADenseLayerBetween) { ExpectMatchesTransformers("qwen3-moe-tiny"); }

}  // namespace intaglio::models
