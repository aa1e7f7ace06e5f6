#include <gtest/gtest.h>

#include "tests/models/fixture.h"

namespace intaglio::models {

TEST(DeepseekV3, MatchesTransformersWithGroupsAndYarn) { ExpectMatchesTransformers("deepseek-v3-tiny"); }

TEST(DeepseekV3, MatchesTransformersWithQueriesFromTheInputAndPlainHalves) { ExpectMatchesTransformers("deepseek-v3-noqlora-tiny"); }

}  // namespace intaglio::models
