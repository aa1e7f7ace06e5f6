#include "cli/compare_text.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/interrupt.h"
#include "cli/terminal.h"

namespace intaglio::cli {
namespace {

struct Interrupted {};

void PrintJson(const TextAccuracy& a) {
  const nlohmann::ordered_json json{{"bundle", a.bundle},
                                    {"reference", a.reference},
                                    {"isa", a.isa},
                                    {"context", a.context},
                                    {"windows", a.windows},
                                    {"tokens", a.tokens},
                                    {"kl_mean", a.kl_mean},
                                    {"kl_p99", a.kl_p99},
                                    {"kl_worst", a.kl_worst},
                                    {"top1_agreement", a.top1_agreement},
                                    {"perplexity", a.perplexity},
                                    {"reference_perplexity", a.reference_perplexity},
                                    {"perplexity_ratio", a.perplexity_ratio()}};
  std::puts(json.dump(2, ' ', /*ensure_ascii=*/false, nlohmann::ordered_json::error_handler_t::replace).c_str());
}

void PrintTable(const TextAccuracy& a) {
  std::printf("%s\nagainst %s\n%lld tokens, in %lld windows of %lld\n\n", a.bundle.c_str(), a.reference.c_str(), static_cast<long long>(a.tokens),
              static_cast<long long>(a.windows), static_cast<long long>(a.context));
  std::printf("%-28s mean %.6g, 99 %% below %.6g, worst %.6g nats\n", "KL(reference || bundle)", a.kl_mean, a.kl_p99, a.kl_worst);
  std::printf("%-28s %.2f %%\n", "same likeliest token", 100 * a.top1_agreement);
  std::printf("%-28s %.4f, reference %.4f, ratio %.5f\n", "perplexity", a.perplexity, a.reference_perplexity, a.perplexity_ratio());
}

}  // namespace

int RunTextComparison(TextComparison comparison) {
  const InterruptGuard interrupt;
  ProgressBar progress;
  comparison.accuracy.on_window = [&](int64_t done, int64_t total) {
    if (interrupt.is_interrupted()) throw Interrupted();
    progress.Update("comparing", static_cast<uint64_t>(done), static_cast<uint64_t>(total));
  };
  try {
    const std::vector<int32_t> tokens =
        comparison.ids.empty() ? ReadTextTokens(comparison.bundle, comparison.reference, comparison.text) : ReadTokenIds(comparison.ids);
    const TextAccuracy accuracy = CompareOnText(comparison.bundle, comparison.reference, tokens, comparison.accuracy);
    progress.Clear();
    comparison.is_json ? PrintJson(accuracy) : PrintTable(accuracy);
    return 0;
  } catch (const Interrupted&) { return interrupt.exit_code(); }
}

}  // namespace intaglio::cli
