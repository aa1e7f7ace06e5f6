#include "compiler/lower_sample.h"

#include "kernels/params.h"

namespace intaglio::compiler {

using bundle::Call;
using bundle::Operand;

std::vector<Call> ShareSample(const Call& sample, const graph::RankPlace& place, int64_t vocab) {
  using namespace kernels::sample_params;
  const Operand &ids = sample.operands[0], &logits = sample.operands[1], &workspace = sample.operands[2], &logprobs = sample.operands[3];
  Call call = sample;
  call.ints[kVocab] = vocab;
  call.ints[kFirstSegment] = place.first_segment();
  call.ints[kNumSegments] = place.end_segment() - place.first_segment();
  call.ints[kOutputs] = ids.rows;
  call.ints[kHasLogprobs] = 1;
  std::vector<Call> calls;
  const auto add = [&](const char* kernel, const std::vector<Operand>& operands, int64_t round = 0) {
    calls.push_back(call);
    calls.back().kernel = kernel;
    calls.back().operands = operands;
    calls.back().ints[kRound] = round;
  };
  add("sample_local", {logits, workspace});
  add("sample_gather_results", {workspace});
  add("sample_draw", {logits, workspace});
  add("sample_gather_results", {workspace}, 1);
  add("sample_pick", {logits, workspace});
  add("sample_gather_candidates", {workspace});
  add("sample_decide", {ids, workspace, logprobs});
  return calls;
}

}  // namespace intaglio::compiler
