// A step as the engine makes it, for tests of what is below it.
#pragma once
#include <vector>

#include "bundle/bundle.h"
#include "intaglio/engine.h"
#include "runtime/batch.h"
#include "runtime/kv_cache.h"

namespace intaglio::runtime {

// Prompts, of one to three tokens, in the first slots; the last token of each has an output.
class MadeStep {
 public:
  MadeStep(const bundle::Bundle& bundle, const std::vector<std::vector<int32_t>>& prompts, const SamplingParams& sampling)
      : kv_(bundle.manifest.max_slots, bundle.manifest.max_context, bundle.plans.front().rows, bundle.manifest.kv_groups,
            StateEntries(bundle.manifest)),
        history_(bundle.manifest.max_slots, bundle.manifest.max_context),
        batch_(kMostRows, kMostRows),
        plan_(SmallestPlan(bundle.plans, Phase::kContextEncoding, kMostRows, static_cast<int32_t>(prompts.size())).value()) {
    const RopeRows rope_rows(bundle.manifest);
    for (const std::vector<int32_t>& prompt : prompts) {
      const int32_t slot = kv_.Acquire().value();
      history_.Reset(slot);
      history_.Write(slot, 0, prompt);
      kv_.Append(slot, static_cast<int32_t>(prompt.size()));
      batch_.Add({.slot = slot, .tokens = prompt, .outputs = 1, .sampling = &sampling}, /*position=*/0, history_, rope_rows);
    }
  }
  [[nodiscard]] size_t plan() const { return plan_; }
  [[nodiscard]] kernels::StepView view() const {
    kernels::StepView view = batch_.view();
    view.block_tables = kv_.block_tables(), view.max_blocks = kv_.max_blocks();
    return view;
  }

 private:
  static constexpr int32_t kMostRows = 16;
  KvCacheManager kv_;
  TokenHistory history_;
  Batch batch_;
  size_t plan_;
};

}  // namespace intaglio::runtime
