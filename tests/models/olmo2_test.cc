#include <gtest/gtest.h>

#include "tests/models/fixture.h"

namespace intaglio::models {

TEST(Olmo2, MatchesTransformersWithNormsAfterBlocksAndOverAllHeads) { ExpectMatchesTransformers("olmo2-tiny"); }

}  // namespace intaglio::models
