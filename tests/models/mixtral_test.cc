#include <gtest/gtest.h>

#include "tests/models/fixture.h"

namespace intaglio::models {

TEST(Mixtral, MatchesTransformersWithTwoOfFourExperts) { ExpectMatchesTransformers("mixtral-tiny"); }

}  // namespace intaglio::models
