#include <gtest/gtest.h>

#include "tests/models/fixture.h"

namespace intaglio::models {

TEST(Granite, MatchesTransformersWithMultipliers) { ExpectMatchesTransformers("granite-tiny"); }

}  // namespace intaglio::models
