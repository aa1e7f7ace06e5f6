#include "cli/measure.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "base/fail.h"
#include "base/limits.h"
#include "base/thread_pool.h"
#include "cli/statistics.h"

namespace intaglio::cli {
namespace {

template <typename Body>
double Seconds(Body body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <typename Body>
double Best(int times, Body body) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < times; ++i) best = std::min(best, body());
  return best;
}

// Made up, the same in every run: a large prime's multiples, so that neighbours differ.
std::vector<int32_t> MakeTokens(int64_t count, int64_t vocab_size) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) tokens[static_cast<size_t>(i)] = static_cast<int32_t>((i + 1) * 1'000'003 % vocab_size);
  return tokens;
}

void RequireRoom(const Engine& engine, const BenchShape& shape) {
  constexpr ErrorCode kCode = ErrorCode::kInvalidArgument;
  const ModelInfo& info = engine.info();
  Require(info.embedding_dim == 0, ErrorCode::kUnsupported, "the bundle embeds texts and decodes nothing, which bench would time: export the ",
          "checkpoint with --task generate to measure it as a decoder");
  Require(shape.prefill <= info.max_context, kCode, "--prefill ", shape.prefill, " is more than the bundle's context of ", info.max_context,
          ": take fewer tokens, or export with --max-context ", shape.prefill, " or more");
  const int64_t length = int64_t{shape.depth} + shape.decode;
  Require(length <= info.max_context, kCode, "--depth ", shape.depth, " and --decode ", shape.decode, " are ", length,
          " tokens, more than the bundle's context of ", info.max_context, ": take fewer, or export with --max-context ", length, " or more");
  const int32_t max_batch = std::min(info.max_slots, engine.max_rows(StepKind::kTokenGeneration));
  Require(shape.batch <= max_batch, kCode, "--batch ", shape.batch, " is more than the ", max_batch,
          " sequences that the bundle decodes at once: take fewer, or export with --max-batch ", shape.batch, " or more");
}

// Appends `tokens` to the slot in the bundle's chunks. With an output, returns once the token that follows is known.
void Encode(Engine& engine, int32_t slot, std::span<const int32_t> tokens, int32_t outputs) {
  const auto chunk = static_cast<size_t>(engine.max_rows(StepKind::kContextEncoding));
  for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
    const auto part = tokens.subspan(begin, std::min(chunk, tokens.size() - begin));
    const StepSequence sequence{.slot = slot,
                                .tokens = part,
                                .outputs = begin + part.size() == tokens.size() ? outputs : 0,
                                .sampling = nullptr,
                                .prompt_length = static_cast<int32_t>(tokens.size())};
    (void)engine.Step(StepKind::kContextEncoding, {&sequence, 1});
  }
}

// Every sequence goes on with the token that was most likely after the last.
double DecodeSeconds(Engine& engine, std::span<const int32_t> slots, const BenchShape& shape) {
  std::vector<int32_t> next = MakeTokens(std::ssize(slots), engine.info().vocab_size);
  std::vector<StepSequence> sequences;
  for (size_t i = 0; i < slots.size(); ++i) {
    sequences.push_back({.slot = slots[i], .tokens = {&next[i], 1}, .outputs = 1, .sampling = nullptr, .prompt_length = 0});
  }
  return Seconds([&] {
    for (int32_t step = 0; step < shape.decode; ++step) {
      const std::span<const StepOutput> outputs = engine.Step(StepKind::kTokenGeneration, sequences);
      for (size_t i = 0; i < outputs.size(); ++i) next[i] = outputs[i].id;
    }
  });
}

void TimePrefill(Engine& engine, const BenchShape& shape, Round& round) {
  const int32_t slot = *engine.AcquireSlot();
  const std::vector<int32_t> prompt = MakeTokens(shape.prefill, engine.info().vocab_size);
  round.first_token_seconds = Seconds([&] { Encode(engine, slot, prompt, /*outputs=*/1); });
  engine.Truncate(slot, 0);
  round.prefill_tokens_per_second = shape.prefill / Seconds([&] { Encode(engine, slot, prompt, /*outputs=*/1); });
  engine.ReleaseSlot(slot);
}

void TimeDecode(Engine& engine, const BenchShape& shape, Round& round) {
  const std::vector<int32_t> context = MakeTokens(shape.depth, engine.info().vocab_size);
  std::vector<int32_t> slots;
  for (int32_t i = 0; i < shape.batch; ++i) {
    slots.push_back(*engine.AcquireSlot());
    Encode(engine, slots.back(), context, /*outputs=*/0);
  }
  round.decode_tokens_per_second = static_cast<double>(shape.decode) * shape.batch / DecodeSeconds(engine, slots, shape);
}

// Operations a second, by the best of the instructions whose name begins so.
std::optional<double> PeakOf(ThreadPool& pool, std::string_view kind) {
  std::optional<double> best;
  for (const Peak& peak : Peaks()) {
    if (!peak.name.starts_with(kind) || !peak.is_supported()) continue;
    const double seconds = Best(10, [&] { return PeakSeconds(pool, peak); });
    best = std::max(best.value_or(0), peak.operations * pool.num_threads() / seconds);
  }
  return best;
}

// By as many threads as the engine had, which is gone by now: neither disturbs the other, nor adds to its memory.
void TimeLimits(int num_threads, Round& round) {
  ThreadPool pool(num_threads);
  const ColdMemory memory(size_t{512} << 20);
  const auto bytes = static_cast<double>(memory.bytes().size());
  for (int streams : {1, 2, 4, 8}) {
    const double seconds = Best(3, [&] { return ReadSeconds(pool, memory.bytes(), streams); });
    round.read_bytes_per_second = std::max(round.read_bytes_per_second, bytes / seconds);
  }
  round.fma_operations_per_second = PeakOf(pool, "f32 FMA");
  round.int8_operations_per_second = PeakOf(pool, "int8");
}

}  // namespace

Measurement Measure(const std::filesystem::path& bundle, const EngineOptions& options, const BenchShape& shape, int num_rounds,
                    const OnPart& on_part) {
  constexpr int kParts = 4;
  const auto total = static_cast<uint64_t>(num_rounds) * kParts;
  uint64_t done = 0;
  Measurement measurement;
  for (int i = 0; i < num_rounds; ++i) {
    Round round;
    const bool is_peak_our_own = ResetPeakRss() || i == 0;
    on_part("load", done++, total);
    std::unique_ptr<Engine> engine;
    round.load_seconds = Seconds([&] { engine = Engine::Load(bundle, options); });
    RequireRoom(*engine, shape);
    on_part("prefill", done++, total);
    TimePrefill(*engine, shape, round);
    on_part("decode", done++, total);
    TimeDecode(*engine, shape, round);
    if (is_peak_our_own) round.peak_rss_bytes = PeakRssBytes();
    measurement.model = engine->info();
    engine.reset();
    on_part("limits of the machine", done++, total);
    TimeLimits(measurement.model.threads, round);
    measurement.rounds.push_back(round);
  }
  measurement.work = CountWork(bundle, {.batch = shape.batch, .depth = shape.depth, .steps = shape.decode});
  return measurement;
}

}  // namespace intaglio::cli
