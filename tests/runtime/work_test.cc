#include "intaglio/work.h"

#include <gtest/gtest.h>

#include "exported.h"

namespace intaglio {
namespace {

using test::ExportedBundle;

// llama-tiny: 3 layers, 64 columns, 8 query and 2 KV heads of 16, 128 intermediate, a vocabulary of 1024 (tied), f32.
constexpr double kLayers = 3 * (64 * 128 + 2 * 64 * 32 + 128 * 64 + 3 * 64 * 128), kHead = 1024 * 64;
constexpr double kBytesOfAPosition = 3 * 2 * (16 + 16) * 4;

TEST(Work, OfAPromptIsEveryMatrixButTheHead) { EXPECT_EQ(CountWork(ExportedBundle("llama-tiny"), {}).prefill_parameters, kLayers); }

TEST(Work, OfADecodeStepIsEveryMatrixOnceAndTheCacheOfEachSequence) {
  const Work work = CountWork(ExportedBundle("llama-tiny"), {.batch = 2, .depth = 10, .steps = 3});
  EXPECT_EQ(work.decode_bytes, 4 * (kLayers + kHead) + 2 * 12 * kBytesOfAPosition);
  EXPECT_FALSE(work.has_experts);
}

TEST(Work, OfASlidingLayerEndsAtItsWindow) {
  const auto bundle = ExportedBundle("gemma3-text-tiny");
  const auto growth = [&](int32_t depth) {
    return CountWork(bundle, {.batch = 1, .depth = depth + 1, .steps = 1}).decode_bytes -
           CountWork(bundle, {.batch = 1, .depth = depth, .steps = 1}).decode_bytes;
  };
  EXPECT_GT(growth(100), 0);
  EXPECT_LT(growth(100), growth(0));
}

TEST(Work, OfAMixtureOfExpertsSaysSo) { EXPECT_TRUE(CountWork(ExportedBundle("mixtral-tiny"), {}).has_experts); }

}  // namespace
}  // namespace intaglio
