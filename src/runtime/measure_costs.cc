// MeasureCosts: walks the context from empty to full and times every kind of step at each depth on the way.
#include <algorithm>
#include <chrono>
#include <tuple>
#include <utility>

#include "base/cpus.h"
#include "base/fail.h"
#include "intaglio/costs.h"

namespace intaglio {
namespace {

// A step to time, by what each of its sequences appends.
struct Shape {
  StepKind kind;
  int32_t sequences, tokens;
  int32_t outputs;   // of each sequence
};

// One of every graph. Those that append most come first: where little of the context is left they begin at the smallest depth, and so a
// sequence only ever grows from one to the next.
std::vector<Shape> ShapesOf(const ModelInfo& info) {
  std::vector<Shape> shapes;
  for (int32_t rows : info.prefill_buckets) shapes.push_back({.kind = StepKind::kContextEncoding, .sequences = 1, .tokens = rows, .outputs = 1});
  for (int32_t batch : info.batch_buckets) {
    shapes.push_back({.kind = StepKind::kTokenGeneration, .sequences = batch, .tokens = 1, .outputs = 1});
    if (info.speculation == 0) continue;
    shapes.push_back({.kind = StepKind::kSpeculation, .sequences = batch, .tokens = info.speculation + 1, .outputs = info.speculation + 1});
  }
  std::erase_if(shapes, [&](const Shape& shape) { return shape.tokens > info.max_context; });
  std::ranges::stable_sort(shapes, std::ranges::greater(), &Shape::tokens);
  return shapes;
}

// Ascending, without repetitions.
std::vector<int32_t> DepthsOf(const ModelInfo& info, std::vector<int32_t> depths) {
  constexpr int64_t kFirst = 512, kGrowth = 4;
  const auto context = static_cast<int32_t>(info.max_context);
  if (info.needs_whole_sequences) return {0};
  if (depths.empty()) {
    depths = {0, context};
    for (int64_t depth = kFirst; depth < context; depth *= kGrowth) depths.push_back(static_cast<int32_t>(depth));
  }
  for (int32_t depth : depths)
    Require(depth >= 0 && depth <= context, ErrorCode::kInvalidArgument, "a depth of ", depth, " tokens is not within the bundle's context of ",
            context);
  std::ranges::sort(depths);
  depths.erase(std::ranges::unique(depths).begin(), depths.end());
  return depths;
}

class Measuring {
 public:
  explicit Measuring(Engine& engine) : engine_(engine), tokens_(static_cast<size_t>(engine.info().max_context)) {
    const int64_t vocab = engine.info().vocab_size;
    int64_t next = 0;
    for (int32_t& token : tokens_) token = static_cast<int32_t>(next = (next + 1'000'003) % vocab);   // made up; neighbours differ
    for (int32_t i = 0; i < engine.info().max_slots; ++i) {
      const std::optional<int32_t> slot = engine.AcquireSlot();
      if (!slot) break;
      slots_.push_back(*slot);
    }
  }
  Measuring(const Measuring&) = delete;
  Measuring& operator=(const Measuring&) = delete;
  ~Measuring() {
    for (int32_t slot : slots_) engine_.ReleaseSlot(slot);
  }
  [[nodiscard]] bool has_all_slots() const { return std::cmp_equal(slots_.size(), engine_.info().max_slots); }

  StepCost Measure(const Shape& shape, int32_t wanted_depth, int32_t repeat) {
    const int32_t depth = std::min(wanted_depth, static_cast<int32_t>(engine_.info().max_context) - shape.tokens);
    (void)TimeStep(shape, depth);   // the first one meets cold memory
    std::vector<double> seconds(static_cast<size_t>(repeat));
    for (double& time : seconds) time = TimeStep(shape, depth);
    std::ranges::sort(seconds);
    const size_t n = seconds.size();
    return {.kind = shape.kind,
            .sequences = shape.sequences,
            .rows = shape.sequences * shape.tokens,
            .depth = depth,
            .seconds = (seconds[(n - 1) / 2] + seconds[n / 2]) / 2,
            .least = seconds.front(),
            .most = seconds.back()};
  }

 private:
  double TimeStep(const Shape& shape, int32_t depth) {
    std::vector<StepSequence> sequences;
    for (int32_t slot : std::span(slots_).first(static_cast<size_t>(shape.sequences))) {
      BringTo(slot, depth);
      sequences.push_back({.slot = slot,
                           .tokens = std::span(tokens_).subspan(static_cast<size_t>(depth), static_cast<size_t>(shape.tokens)),
                           .outputs = shape.outputs,
                           .sampling = nullptr,
                           .wants_logits = false});
    }
    const auto start = std::chrono::steady_clock::now();
    (void)engine_.Step(shape.kind, sequences);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  // Leaves `depth` tokens in the slot. A state that has to be computed again is, so that no step that is timed does it.
  void BringTo(int32_t slot, int32_t depth) {
    const int32_t held = engine_.length(slot);
    if (held > depth) engine_.Truncate(slot, engine_.info().is_recurrent || depth < engine_.shortest_truncation(slot) ? 0 : depth);
    const int32_t chunk = engine_.max_rows(StepKind::kContextEncoding);
    for (int32_t begin = engine_.length(slot); begin < depth; begin += chunk) {
      const auto size = static_cast<size_t>(std::min(chunk, depth - begin));
      const StepSequence sequence{.slot = slot, .tokens = std::span(tokens_).subspan(static_cast<size_t>(begin), size), .outputs = 0};
      (void)engine_.Step(StepKind::kContextEncoding, {&sequence, 1});
    }
  }

  Engine& engine_;
  std::vector<int32_t> tokens_, slots_;
};

}  // namespace

CostTable MeasureCosts(Engine& engine, const CostOptions& options) {
  const ModelInfo& info = engine.info();
  const std::vector<int32_t> depths = DepthsOf(info, options.depths);
  const std::vector<Shape> shapes = ShapesOf(info);
  Require(options.repeat >= 1, ErrorCode::kInvalidArgument, "steps must be timed at least once, not ", options.repeat, " times");
  Measuring measuring(engine);
  Require(measuring.has_all_slots(), ErrorCode::kResourceExhausted, "costs are measured with all ", info.max_slots,
          " slots of the bundle, of which some are in use");
  CostTable table{.cpu = CpuModel(), .isa = info.isa, .threads = info.threads, .steps = {}};
  const auto total = std::ssize(depths) * std::ssize(shapes);
  int64_t done = 0;
  for (int32_t depth : depths) {
    for (const Shape& shape : shapes) {
      if (options.on_step) options.on_step(done++, total);
      const StepCost cost = measuring.Measure(shape, depth, options.repeat);
      const bool is_known =
          std::ranges::any_of(table.steps, [&](const StepCost& c) { return c.kind == cost.kind && c.rows == cost.rows && c.depth == cost.depth; });
      if (!is_known) table.steps.push_back(cost);
    }
  }
  std::ranges::stable_sort(table.steps, {}, [](const StepCost& c) { return std::tuple(c.kind, c.rows, c.depth); });
  return table;
}

}  // namespace intaglio
