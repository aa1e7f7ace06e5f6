#include <gtest/gtest.h>

#include "tests/models/fixture.h"

namespace intaglio::models {

TEST(GptOss, MatchesTransformersWithSinksBiasesAndClampedExperts) { ExpectMatchesTransformers("gpt-oss-tiny"); }

}  // namespace intaglio::models
