#include <gtest/gtest.h>

#include "tests/models/fixture.h"

namespace intaglio::models {

TEST(GraniteMoe, MatchesTransformersWithMultipliersAndStackedExperts) { ExpectMatchesTransformers("granitemoe-tiny"); }

}  // namespace intaglio::models
