#include <gtest/gtest.h>

#include "tests/models/fixture.h"

namespace intaglio::models {

TEST(SmolLm3, MatchesTransformersWithLayersThatDoNotRotate) { ExpectMatchesTransformers("smollm3-tiny"); }

}  // namespace intaglio::models
