#include "runtime/batch.h"

#include <gtest/gtest.h>

namespace intaglio::runtime {
namespace {

bundle::Manifest ThreeSlots() {
  bundle::Manifest manifest;
  manifest.max_slots = 3;
  return manifest;
}

const RopeRows kRopeRows{ThreeSlots()};

bundle::Plan MakePlan(Phase phase, int32_t rows, int32_t outputs) {
  bundle::Plan plan;
  plan.phase = phase;
  plan.rows = rows;
  plan.outputs = outputs;
  return plan;
}

TEST(SmallestPlan, IsTheSmallestBucketOfThePhaseThatFits) {
  const std::vector<bundle::Plan> plans{MakePlan(Phase::kContextEncoding, 64, 8), MakePlan(Phase::kContextEncoding, 16, 8),
                                        MakePlan(Phase::kTokenGeneration, 4, 4)};
  EXPECT_EQ(SmallestPlan(plans, Phase::kContextEncoding, 3, 1), 1u);
  EXPECT_EQ(SmallestPlan(plans, Phase::kContextEncoding, 16, 8), 1u);
  EXPECT_EQ(SmallestPlan(plans, Phase::kContextEncoding, 17, 8), 0u);
  EXPECT_EQ(SmallestPlan(plans, Phase::kContextEncoding, 65, 1), std::nullopt);
  EXPECT_EQ(SmallestPlan(plans, Phase::kContextEncoding, 16, 9), std::nullopt);
  EXPECT_EQ(SmallestPlan(plans, Phase::kSpeculation, 1, 1), std::nullopt);
}

TEST(Batch, LaysRowsOfASequenceSideBySide) {
  TokenHistory history(/*max_slots=*/3, /*max_context=*/100);
  const std::vector<int32_t> first{7, 8, 9}, second{4};
  history.Write(2, 10, first);
  history.Write(0, 0, second);
  Batch batch(/*max_rows=*/8, /*max_outputs=*/4);
  batch.Add({.slot = 2, .tokens = first, .outputs = 2, .sampling = nullptr}, 10, history, kRopeRows);
  batch.Add({.slot = 0, .tokens = second, .outputs = 1, .sampling = nullptr}, 0, history, kRopeRows);
  const kernels::StepView view = batch.view();
  EXPECT_EQ(std::vector<int32_t>(view.tokens, view.tokens + view.num_rows), (std::vector<int32_t>{7, 8, 9, 4}));
  EXPECT_EQ(std::vector<int32_t>(view.positions, view.positions + view.num_rows), (std::vector<int32_t>{10, 11, 12, 0}));
  EXPECT_EQ(std::vector<int32_t>(view.slots, view.slots + view.num_rows), (std::vector<int32_t>{2, 2, 2, 0}));
  EXPECT_EQ(std::vector<int32_t>(view.output_rows, view.output_rows + view.num_outputs), (std::vector<int32_t>{1, 2, 3}));
}

TEST(Batch, EachOutputSeesTheHistoryUpToItsRow) {
  TokenHistory history(/*max_slots=*/1, /*max_context=*/100);
  const std::vector<int32_t> tokens{5, 6, 7};
  history.Write(0, 0, tokens);
  history.SetPrompt(0, 2);
  const SamplingParams sampling{.temperature = 0.5f, .seed = 11};
  Batch batch(8, 8);
  batch.Add({.slot = 0, .tokens = tokens, .outputs = 3, .sampling = &sampling}, 0, history, kRopeRows);
  const kernels::StepView view = batch.view();
  for (int32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(view.sampling[i].history_size, i + 1);
    EXPECT_EQ(view.sampling[i].history[i], tokens[static_cast<size_t>(i)]);
    EXPECT_EQ(view.sampling[i].prompt_size, std::min(i + 1, 2));
    EXPECT_EQ(view.sampling[i].position, i + 1);  // of the token to draw
    EXPECT_EQ(view.sampling[i].seed, 11u);
  }
}

TEST(TokenHistory, WhatContextEncodingAppendedFirstIsPrompt) {
  TokenHistory history(1, 100);
  history.Reset(0);
  EXPECT_EQ(history.prompt_length(0, 9), 9);
  history.EndPrompt(0, 9);
  history.EndPrompt(0, 12);
  EXPECT_EQ(history.prompt_length(0, 20), 9);
  history.Reset(0);
  EXPECT_EQ(history.prompt_length(0, 20), 20);
}

}  // namespace
}  // namespace intaglio::runtime
