#include <gtest/gtest.h>

#include "tests/models/fixture.h"

namespace intaglio::models {

TEST(Llama4, MatchesTransformersWithChunksTemperatureAndASharedExpert) { ExpectMatchesTransformers("llama4-text-tiny"); }

}  // namespace intaglio::models
