// intaglio bench: how fast a bundle is on this machine, and what share of the machine's limits that is.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "cli/bench_steps.h"
#include "cli/commands.h"
#include "cli/measure.h"
#include "cli/terminal.h"
#include "cli/thread_options.h"

namespace intaglio::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  intaglio bench gemma.bundle
  intaglio bench gemma.bundle --depth 2048 --decode 32         decode with 2,048 tokens in the KV cache
  intaglio bench llama.bundle --batch 8 --threads 4            tokens/s over all 8 sequences
  intaglio bench llama.bundle --json | jq .decode_tokens_per_s.median
  intaglio bench llama.bundle --all --store                    time a step of every graph, and keep the table in the bundle

Each of --repeat rounds loads the bundle, gives it a prompt of --prefill tokens (first token: the first prompt after loading; prefill: the
same prompt again), decodes --decode tokens in each of --batch sequences, and measures the machine's limits. Printed are the median and, as
spread, the least and the most of the rounds. Token ids are made up, so no tokenizer is needed.

Shares: of the read bandwidth, the bytes of weights and KV cache that decode must read a second; of the FMA peak, and for
quantised weights of the peak of int8 products, 2 operations a second for each parameter that a prompt's token is multiplied by (attention not
counted). They are left out for a mixture of experts, where the tokens choose the weights. Compare figures of one run only: other programs and
the CPU's clock change them all.

--all times one step of each graph and bucket instead, with 0, 512, 2,048 and so on tokens in each sequence, up to the whole context. A scheduler
reads the table that --store leaves in the bundle; a bundle holds one for each CPU, instruction set and number of threads.)";

struct BenchOptions {
  std::filesystem::path bundle;
  BenchShape shape;
  int32_t num_rounds = 5;
  bool is_json = false, is_of_steps = false;
  EngineOptions engine;
  StepsBench steps;
};

struct Summary {
  double median, least, most;
};

// A figure of every round; those that have none are left out.
template <typename Figure>
std::optional<Summary> Summarise(const Measurement& measurement, Figure figure) {
  std::vector<double> values;
  for (const Round& round : measurement.rounds) {
    if (const std::optional<double> value = figure(round)) values.push_back(*value);
  }
  if (values.empty()) return std::nullopt;
  std::ranges::sort(values);
  const size_t n = values.size();
  return Summary{.median = (values[(n - 1) / 2] + values[n / 2]) / 2, .least = values.front(), .most = values.back()};
}

struct Result {
  const char *key, *title, *unit;
  double scale;                    // of what people read
  std::optional<Summary> summary;
};

std::vector<Result> Summarise(const Measurement& m, const BenchShape& shape) {
  using Number = std::optional<double>;
  const Work& work = m.work;
  const auto decode_share = [&](const Round& r) -> Number {
    if (work.has_experts) return std::nullopt;
    return work.decode_bytes * r.decode_tokens_per_second / shape.batch / r.read_bytes_per_second;
  };
  const auto prefill_share = [&](const Round& r) -> Number {
    if (work.has_experts || !r.fma_operations_per_second) return std::nullopt;
    return 2 * work.prefill_parameters * r.prefill_tokens_per_second / *r.fma_operations_per_second;
  };
  const bool is_quantised = m.model.weight_dtype != "f32" && m.model.weight_dtype != "bf16";
  const auto int8_share = [&](const Round& r) -> Number {
    if (work.has_experts || !is_quantised || !r.int8_operations_per_second) return std::nullopt;
    return 2 * work.prefill_parameters * r.prefill_tokens_per_second / *r.int8_operations_per_second;
  };
  const auto peak_rss = [](const Round& r) -> Number { return r.peak_rss_bytes ? Number(static_cast<double>(*r.peak_rss_bytes)) : std::nullopt; };
  return {
      {"load_s", "load", "ms", 1e3, Summarise(m, [](const Round& r) -> Number { return r.load_seconds; })},
      {"first_token_s", "first token", "ms", 1e3, Summarise(m, [](const Round& r) -> Number { return r.first_token_seconds; })},
      {"prefill_tokens_per_s", "prefill", "tokens/s", 1, Summarise(m, [](const Round& r) -> Number { return r.prefill_tokens_per_second; })},
      {"decode_tokens_per_s", "decode", "tokens/s", 1, Summarise(m, [](const Round& r) -> Number { return r.decode_tokens_per_second; })},
      {"peak_rss_bytes", "peak memory", "MiB", 1.0 / (1 << 20), Summarise(m, peak_rss)},
      {"read_bytes_per_s", "machine: reads", "GB/s", 1e-9, Summarise(m, [](const Round& r) -> Number { return r.read_bytes_per_second; })},
      {"fma_operations_per_s", "machine: f32 FMA", "G/s", 1e-9, Summarise(m, [](const Round& r) { return r.fma_operations_per_second; })},
      {"int8_operations_per_s", "machine: int8 dot", "G/s", 1e-9, Summarise(m, [](const Round& r) { return r.int8_operations_per_second; })},
      {"decode_share_of_read_bandwidth", "decode / reads", "%", 100, Summarise(m, decode_share)},
      {"prefill_share_of_fma_peak", "prefill / FMA", "%", 100, Summarise(m, prefill_share)},
      {"prefill_share_of_int8_peak", "prefill / int8", "%", 100, Summarise(m, int8_share)},
  };
}

void PrintJson(const BenchOptions& options, const Measurement& measurement, const std::vector<Result>& results) {
  const ModelInfo& model = measurement.model;
  const BenchShape& shape = options.shape;
  nlohmann::ordered_json json{
      {"model", model.source},    {"architecture", model.architecture}, {"weights", model.weight_dtype}, {"isa", model.isa},
      {"threads", model.threads}, {"prefill", shape.prefill},           {"decode", shape.decode},        {"depth", shape.depth},
      {"batch", shape.batch},     {"repeat", options.num_rounds}};
  for (const Result& result : results) {
    json[result.key] = nullptr;
    if (const auto& s = result.summary) json[result.key] = {{"median", s->median}, {"spread", {s->least, s->most}}};
  }
  std::puts(json.dump(2, ' ', /*ensure_ascii=*/false, nlohmann::ordered_json::error_handler_t::replace).c_str());
}

void PrintTable(const BenchOptions& options, const Measurement& measurement, const std::vector<Result>& results) {
  const ModelInfo& model = measurement.model;
  const BenchShape& shape = options.shape;
  std::printf("%s, %s weights, %s, %d threads: prefill %d, decode %d at depth %d, batch %d, repeat %d\n\n", model.source.c_str(),
              model.weight_dtype.c_str(), model.isa.c_str(), model.threads, shape.prefill, shape.decode, shape.depth, shape.batch,
              options.num_rounds);
  std::printf("%-18s %12s %12s %12s\n", "", "median", "least", "most");
  for (const Result& result : results) {
    if (const auto& s = result.summary) {
      std::printf("%-18s %12.1f %12.1f %12.1f  %s\n", result.title, s->median * result.scale, s->least * result.scale, s->most * result.scale,
                  result.unit);
    }
  }
  if (measurement.work.has_experts) std::puts("\nNo shares of the limits: the tokens choose which experts' weights a step uses.");
}

int Bench(const BenchOptions& options) {
  ProgressBar progress;
  const auto on_part = [&](std::string_view part, uint64_t done, uint64_t total) { progress.Update(part, done, total); };
  const Measurement measurement = Measure(options.bundle, options.engine, options.shape, options.num_rounds, on_part);
  progress.Clear();
  const std::vector<Result> results = Summarise(measurement, options.shape);
  options.is_json ? PrintJson(options, measurement, results) : PrintTable(options, measurement, results);
  return 0;
}

int BenchSteps(const BenchOptions& options) {
  StepsBench bench = options.steps;
  bench.bundle = options.bundle;
  bench.engine = options.engine;
  bench.costs.repeat = options.num_rounds;
  bench.is_json = options.is_json;
  return RunStepsBench(std::move(bench));
}

void AddShapeOptions(CLI::App* command, BenchShape& shape, CLI::Option* all) {
  command->add_option("--prefill", shape.prefill, "Tokens of the prompt (default 512)")->check(CLI::PositiveNumber)->excludes(all);
  command->add_option("--decode", shape.decode, "Tokens to decode in each sequence (default 64)")->check(CLI::PositiveNumber)->excludes(all);
  command->add_option("--depth", shape.depth, "Tokens in each sequence's KV cache before it decodes (default 0)")
      ->check(CLI::NonNegativeNumber)
      ->excludes(all);
  command->add_option("--batch", shape.batch, "Sequences that decode together (default 1)")->check(CLI::PositiveNumber)->excludes(all);
}

}  // namespace

void AddBenchCommand(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("bench", "Time a bundle, beside the limits of this machine");
  command->footer(kFooter);
  const auto options = std::make_shared<BenchOptions>();  // lives as long as the parser's callbacks
  command->add_option("BUNDLE", options->bundle, "Bundle directory, made by intaglio export")->required();
  CLI::Option* all = command->add_flag("--all", options->is_of_steps, "Time a step of every graph and bucket at several depths instead");
  command->add_option("--depths", options->steps.costs.depths, "With --all: these depths, e.g. 0,1024")
      ->delimiter(',')
      ->check(CLI::NonNegativeNumber)
      ->needs(all);
  command->add_flag("--store", options->steps.is_stored, "With --all: keep the table in the bundle")->needs(all);
  AddShapeOptions(command, options->shape, all);
  command->add_option("--repeat", options->num_rounds, "Rounds, or times that --all takes each step (default 5)")->check(CLI::PositiveNumber);
  AddThreadOptions(command, options->engine);
  AddWireOption(command, options->engine);
  AddStartOptions(command, options->engine);
  command->add_flag("--json", options->is_json, "Print one JSON object; of each figure its median and spread, [least, most]");
  command->callback([options, &chosen] { chosen = [options] { return options->is_of_steps ? BenchSteps(*options) : Bench(*options); }; });
}

}  // namespace intaglio::cli
