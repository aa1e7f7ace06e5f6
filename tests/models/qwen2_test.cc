#include <gtest/gtest.h>

#include "tests/models/fixture.h"

namespace intaglio::models {

TEST(Qwen2, MatchesTransformersWithBiasesAndSlidingLayers) { ExpectMatchesTransformers("qwen2-tiny"); }

}  // namespace intaglio::models
