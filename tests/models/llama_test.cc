#include <gtest/gtest.h>

#include "tests/models/fixture.h"

namespace intaglio::models {

TEST(Llama, MatchesTransformersWithLlama3RopeAndTiedEmbeddings) { ExpectMatchesTransformers("llama-tiny"); }
TEST(Llama, MatchesTransformersWithBfloat16Weights) { ExpectMatchesTransformers("llama-bf16-tiny"); }
TEST(Llama, MatchesTransformersWithOneKvHeadBiasesAndUntiedHead) { ExpectMatchesTransformers("llama-untied-mqa-tiny"); }
TEST(Llama, MatchesTransformersWithThreeKvHeadsAndLinearRope) { ExpectMatchesTransformers("llama-heads-not-divisible-tiny"); }

}  // namespace intaglio::models
