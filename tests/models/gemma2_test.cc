#include <gtest/gtest.h>

#include "tests/models/fixture.h"

namespace intaglio::models {

TEST(Gemma2, MatchesTransformersWithSoftcapsAndAlternatingWindows) { ExpectMatchesTransformers("gemma2-tiny"); }

}  // namespace intaglio::models
