#include <gtest/gtest.h>

#include "tests/models/fixture.h"

namespace intaglio::models {

TEST(Mistral, MatchesTransformersWithSlidingWindow) { ExpectMatchesTransformers("mistral-tiny"); }

}  // namespace intaglio::models
