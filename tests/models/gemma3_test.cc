#include <gtest/gtest.h>

#include "tests/models/fixture.h"

namespace intaglio::models {

TEST(Gemma3, MatchesTransformersWithLocalAndGlobalLayers) { ExpectMatchesTransformers("gemma3-text-tiny"); }

}  // namespace intaglio::models
