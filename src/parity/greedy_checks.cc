#include "parity/greedy_checks.h"

#include <algorithm>
#include <cmath>

#include "base/strings.h"

namespace intaglio::parity {
namespace {

ParityCheck CheckLogprobs(const std::string& name, const GoldenPrompt& golden, const GenerateResult& result, double tolerance) {
  ParityCheck check{.name = name, .worst = 0, .tolerance = tolerance, .where = {}, .is_ok = true};
  const size_t num_steps = std::min(golden.top_logprobs.size(), result.top_logprobs.size());
  for (size_t step = 0; step < num_steps; ++step) {
    for (const auto& [id, logprob] : golden.top_logprobs[step]) {
      const auto& top = result.top_logprobs[step];
      const auto entry = std::find_if(top.begin(), top.end(), [id = id](const TokenLogprob& t) { return t.id == id; });
      const double error = entry == top.end() ? INFINITY : std::fabs(static_cast<double>(entry->logprob) - logprob);
      if (error <= check.worst) continue;
      check.worst = error;
      check.where = StrCat("step ", step, ", token ", id);
    }
  }
  check.is_ok = check.worst <= check.tolerance;
  return check;
}

// The token's logit minus the best other one; not a number if any logit is none.
double Margin(std::span<const float> row, int32_t token) {
  float best = -INFINITY;
  for (size_t i = 0; i < row.size(); ++i) {
    if (std::isnan(row[i])) return row[i];
    if (static_cast<int32_t>(i) != token) best = std::max(best, row[i]);
  }
  return static_cast<double>(row[static_cast<size_t>(token)]) - best;
}

}  // namespace

GreedyRun RunGreedy(Engine& engine, const GoldenPrompt& golden) {
  const size_t room = static_cast<size_t>(engine.info().max_context) - golden.input_ids.size();
  GreedyRun run{.result = {}, .num_wanted = std::min(golden.greedy_ids.size(), room), .num_equal = 0};
  if (run.num_wanted == 0) return run;
  GenerateRequest request{.prompt = golden.input_ids,
                          .max_tokens = static_cast<int32_t>(run.num_wanted),
                          .sampling = {},
                          .stop_ids = {},
                          .chunk = 0,
                          .all_logits = false,
                          .on_token = {},
                          .on_prefill = {}};
  request.sampling.num_logprobs = 5;
  run.result = Generate(engine, request);
  const auto wanted = std::span(golden.greedy_ids).first(run.num_wanted);
  run.num_equal =
      static_cast<size_t>(std::mismatch(run.result.ids.begin(), run.result.ids.end(), wanted.begin(), wanted.end()).second - wanted.begin());
  return run;
}

std::vector<ParityCheck> CheckGreedy(const std::string& name, const GoldenPrompt& golden, const GreedyRun& run, double logprob_tolerance) {
  std::vector<ParityCheck> checks{{.name = name + ".greedy_ids",
                                   .worst = static_cast<double>(run.num_wanted - run.num_equal),
                                   .tolerance = 0,
                                   .where = run.is_equal() ? StrCat(run.num_equal, " tokens") : StrCat("first difference at token ", run.num_equal),
                                   .is_ok = run.is_equal()}};
  if (run.is_equal() && !golden.top_logprobs.empty()) checks.push_back(CheckLogprobs(name + ".top_logprobs", golden, run.result, logprob_tolerance));
  return checks;
}

ParityCheck CheckForced(const std::string& name, const GoldenPrompt& golden, std::span<const float> logits, int64_t vocab, double tolerance) {
  // Two logits make a margin.
  ParityCheck check{.name = name + ".teacher_forced", .worst = 0, .tolerance = 2 * tolerance, .where = {}, .is_ok = true};
  const auto width = static_cast<size_t>(vocab);
  for (size_t step = 0; step < std::min(logits.size() / width, golden.margins.size()); ++step) {
    const double margin = Margin(logits.subspan(step * width, width), golden.greedy_ids[step]), expected = golden.margins[step];
    const double error = std::isfinite(margin) ? std::fabs(margin - expected) : INFINITY;
    if (error <= check.worst) continue;
    check.worst = error;
    check.where = StrCat("token ", step, " (", golden.greedy_ids[step], ") wins by ", margin, " instead of ", expected);
  }
  check.is_ok = check.worst <= check.tolerance;
  return check;
}

}  // namespace intaglio::parity
