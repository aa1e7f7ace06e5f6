#include "runtime/ranks/step_message.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "exported.h"
#include "intaglio/error.h"
#include "made_step.h"

namespace intaglio::runtime {
namespace {

const bundle::Bundle& Model() {
  static const bundle::Bundle bundle = bundle::Bundle::Open(test::ExportedBundle("qwen3-tiny"));
  return bundle;
}

std::vector<std::byte> Message(const MadeStep& step) {
  std::vector<std::byte> bytes;
  EncodeStep(step.view(), Model().manifest.kv_groups.size(), bytes);
  return bytes;
}

MadeStep TwoPrompts(const SamplingParams& sampling) { return {Model(), {{5, 6, 7}, {8, 9}}, sampling}; }

void ExpectSameInts(const int32_t* actual, const int32_t* expected, int32_t count) {
  EXPECT_EQ(std::vector<int32_t>(actual, actual + count), std::vector<int32_t>(expected, expected + count));
}

TEST(StepMessage, BringsTheRows) {
  const MadeStep step = TwoPrompts({});
  const kernels::StepView sent = step.view();
  ReceivedStep received(Model());
  const kernels::StepView view = received.Decode(Message(step), Model().plans[step.plan()]);
  ASSERT_EQ(view.num_rows, 5);
  ASSERT_EQ(view.num_outputs, 2);
  for (const auto field : {&kernels::StepView::tokens, &kernels::StepView::positions, &kernels::StepView::slots, &kernels::StepView::lengths,
                           &kernels::StepView::rope_rows})
    ExpectSameInts(view.*field, sent.*field, view.num_rows);
  ExpectSameInts(view.output_rows, sent.output_rows, view.num_outputs);
}

TEST(StepMessage, BringsTheBlocksThatTheSlotsReach) {
  const MadeStep step = TwoPrompts({});
  const kernels::StepView sent = step.view();
  ReceivedStep received(Model());
  const kernels::StepView view = received.Decode(Message(step), Model().plans[step.plan()]);
  for (size_t group = 0; group < Model().manifest.kv_groups.size(); ++group) {
    for (int32_t slot : {0, 1})
      EXPECT_EQ(view.block_tables[group][slot * view.max_blocks[group]], sent.block_tables[group][slot * sent.max_blocks[group]]);
  }
}

TEST(StepMessage, BringsAHistoryWhereItIsNeeded) {
  for (const float penalty : {1.0f, 1.5f}) {
    const MadeStep step = TwoPrompts({.temperature = 0.5f, .repetition_penalty = penalty, .num_logprobs = 3, .seed = 9});
    ReceivedStep received(Model());
    const kernels::SamplingRow& row = received.Decode(Message(step), Model().plans[step.plan()]).sampling[1];
    EXPECT_EQ(row.history_size, penalty == 1.0f ? 0 : 2);
    EXPECT_EQ(row.seed, 9);
    ExpectSameInts(row.history, step.view().sampling[1].history, row.history_size);
  }
}

void ExpectRefused(std::vector<std::byte> bytes, const MadeStep& step) {
  ReceivedStep received(Model());
  EXPECT_THROW((void)received.Decode(bytes, Model().plans[step.plan()]), Error);
}

TEST(StepMessage, OfAnotherLengthIsRefused) {
  const MadeStep step = TwoPrompts({.repetition_penalty = 1.5f});
  const std::vector<std::byte> whole = Message(step);
  for (size_t size = 0; size < whole.size(); ++size) ExpectRefused({whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size)}, step);
  std::vector<std::byte> longer = whole;
  longer.push_back({});
  ExpectRefused(longer, step);
}

// Rows, outputs, then five numbers of each of five rows, and the outputs' rows: none may be far off.
TEST(StepMessage, NumbersThatPointNowhereAreRefused) {
  const MadeStep step = TwoPrompts({});
  constexpr size_t kNumbers = 2 + 5 * 5 + 2;
  for (size_t i = 0; i < kNumbers; ++i) {
    for (const int32_t wrong : {-1, 1 << 30}) {
      std::vector<std::byte> bytes = Message(step);
      std::memcpy(bytes.data() + i * sizeof wrong, &wrong, sizeof wrong);
      SCOPED_TRACE(testing::Message() << "number " << i << " is " << wrong);
      ExpectRefused(bytes, step);
    }
  }
}

TEST(StepMessage, BlocksThatAreNotThereAreRefused) {
  const MadeStep step = TwoPrompts({});
  std::vector<std::byte> bytes = Message(step);
  const int32_t wrong = 1 << 20;
  std::memcpy(bytes.data() + bytes.size() - sizeof wrong, &wrong, sizeof wrong);
  ExpectRefused(bytes, step);
}

}  // namespace
}  // namespace intaglio::runtime
