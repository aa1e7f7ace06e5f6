#include <gtest/gtest.h>

#include "tests/models/fixture.h"

namespace intaglio::models {

TEST(Phi3, MatchesTransformersWithStackedTensorsAndAWindow) { ExpectMatchesTransformers("phi3-tiny"); }
TEST(Phi3, MatchesTransformersWithLongRopeOnPartOfEachHead) { ExpectMatchesTransformers("phi3-longrope-tiny"); }

}  // namespace intaglio::models
