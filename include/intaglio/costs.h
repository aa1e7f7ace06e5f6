// The cost table: how long each step of a bundle takes on a machine. Measured once, kept in the bundle (costs.json) by machine, and read by
// whoever has to decide what goes into the next step (Engine::costs).
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string_view>
#include <vector>

#include "intaglio/engine.h"

namespace intaglio {

// "context_encoding", "token_generation", "speculation"
[[nodiscard]] std::string_view Name(StepKind kind);

struct CostOptions {
  std::vector<int32_t> depths{};   // tokens that sequences hold already; empty: 0, 512, four times as many and so on, and a full context
  int32_t repeat = 5;
  std::function<void(int64_t done, int64_t total)> on_step{};   // may throw to interrupt
};

// Times a step of every graph at every depth: one sequence that fills a prompt's graph, as many as a bucket of token generation or speculation
// takes; each step with its outputs. Where less than the step's tokens is left of the context, the depth is what leaves room for them. Needs an
// engine whose slots are all free, and leaves them so. Throws Error kInvalidArgument for a depth beyond the context, kResourceExhausted when
// slots are taken.
[[nodiscard]] CostTable MeasureCosts(Engine& engine, const CostOptions& options = {});

// All tables of a bundle. Throws Error kDataLoss or kUnsupported for a costs.json that cannot be read.
[[nodiscard]] std::vector<CostTable> ReadCosts(const std::filesystem::path& bundle);
// Adds the table, in place of the one of the same CPU, instruction set and threads. Readers see the old file or the new one. Throws Error as
// ReadCosts does, kNotFound where no bundle is, kIo.
void StoreCosts(const std::filesystem::path& bundle, const CostTable& table);

}  // namespace intaglio
