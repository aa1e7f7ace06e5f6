#include "cli/bench_steps.h"

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/interrupt.h"
#include "cli/terminal.h"

namespace intaglio::cli {
namespace {

struct Interrupted {};

void PrintJson(const ModelInfo& model, const CostTable& table, const StepsBench& bench) {
  nlohmann::ordered_json json{{"model", model.source}, {"architecture", model.architecture}, {"weights", model.weight_dtype}, {"cpu", table.cpu},
                              {"isa", table.isa},      {"threads", table.threads},           {"repeat", bench.costs.repeat}};
  json["steps"] = nlohmann::ordered_json::array();
  for (const StepCost& cost : table.steps) {
    json["steps"].push_back({{"phase", Name(cost.kind)},
                             {"sequences", cost.sequences},
                             {"rows", cost.rows},
                             {"depth", cost.depth},
                             {"seconds", {{"median", cost.seconds}, {"spread", {cost.least, cost.most}}}}});
  }
  std::puts(json.dump(2, ' ', /*ensure_ascii=*/false, nlohmann::ordered_json::error_handler_t::replace).c_str());
}

void PrintTable(const ModelInfo& model, const CostTable& table, const StepsBench& bench) {
  std::printf("%s, %s weights, %s, %s, %d threads: milliseconds a step, repeat %d\n\n", model.source.c_str(), model.weight_dtype.c_str(),
              table.cpu.c_str(), table.isa.c_str(), table.threads, bench.costs.repeat);
  std::printf("%-18s %9s %6s %8s %10s %10s %10s\n", "phase", "sequences", "rows", "depth", "median", "least", "most");
  for (const StepCost& cost : table.steps) {
    std::printf("%-18s %9d %6d %8d %10.3f %10.3f %10.3f\n", Name(cost.kind).data(), cost.sequences, cost.rows, cost.depth, cost.seconds * 1e3,
                cost.least * 1e3, cost.most * 1e3);
  }
  if (bench.is_stored) std::printf("\nStored in %s, for this CPU, instruction set and number of threads.\n", bench.bundle.string().c_str());
}

}  // namespace

int RunStepsBench(StepsBench bench) {
  const InterruptGuard interrupt;
  ProgressBar progress;
  bench.costs.on_step = [&](int64_t done, int64_t total) {
    if (interrupt.is_interrupted()) throw Interrupted();
    progress.Update("timing steps", static_cast<uint64_t>(done), static_cast<uint64_t>(total));
  };
  try {
    const std::unique_ptr<Engine> engine = Engine::Load(bench.bundle, bench.engine);
    const CostTable table = MeasureCosts(*engine, bench.costs);
    progress.Clear();
    if (bench.is_stored) StoreCosts(bench.bundle, table);
    bench.is_json ? PrintJson(engine->info(), table, bench) : PrintTable(engine->info(), table, bench);
    return 0;
  } catch (const Interrupted&) { return interrupt.exit_code(); }
}

}  // namespace intaglio::cli
