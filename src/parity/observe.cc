#include "parity/observe.h"

#include <algorithm>

#include "base/fail.h"

namespace intaglio::parity {
namespace {

void Append(std::vector<float>& rows, std::span<const float> row) { rows.insert(rows.end(), row.begin(), row.end()); }

// One sequence in one slot, in chunks small enough that every row may be an output row.
class Sequence {
 public:
  explicit Sequence(Engine& engine)
      : engine_(engine),
        slot_(engine.AcquireSlot().value()),
        chunk_(static_cast<size_t>(std::min(engine.max_rows(StepKind::kContextEncoding), engine.max_outputs(StepKind::kContextEncoding)))) {}
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;
  ~Sequence() { engine_.ReleaseSlot(slot_); }

  // Logits after every token; `after_chunk` may read probes.
  template <typename AfterChunk>
  std::vector<float> Feed(std::span<const int32_t> ids, int32_t prompt_length, const AfterChunk& after_chunk) {
    std::vector<float> logits;
    for (; !ids.empty(); ids = ids.subspan(std::min(chunk_, ids.size()))) {
      const std::span<const int32_t> tokens = ids.first(std::min(chunk_, ids.size()));
      const StepSequence sequence{
          .slot = slot_, .tokens = tokens, .outputs = static_cast<int32_t>(tokens.size()), .sampling = nullptr, .prompt_length = prompt_length};
      for (const StepOutput& output : engine_.Step(StepKind::kContextEncoding, {&sequence, 1})) Append(logits, output.logits);
      after_chunk();
    }
    return logits;
  }

 private:
  Engine& engine_;
  const int32_t slot_;
  const size_t chunk_;
};

}  // namespace

Observed Observe(Engine& engine, const GoldenPrompt& prompt, const std::vector<std::string>& probe_names) {
  const auto context = static_cast<size_t>(engine.info().max_context), length = prompt.input_ids.size();
  Require(length >= 1 && length <= context, ErrorCode::kInvalidArgument, "a golden prompt has ", length, " tokens; the bundle's context is ", context,
          ": export it with --max-context ", length, " or more");
  Observed observed;
  Sequence sequence(engine);
  observed.prompt_logits = sequence.Feed(prompt.input_ids, static_cast<int32_t>(length), [&] {
    for (const std::string& name : probe_names) {
      if (const auto value = engine.probe(name)) Append(observed.probes[name], value->values);
    }
  });
  if (prompt.greedy_ids.empty()) return observed;
  const size_t num_forced = std::min(prompt.greedy_ids.size() - 1, context - length);
  const auto vocab = static_cast<size_t>(engine.info().vocab_size);
  Append(observed.forced_logits, std::span(observed.prompt_logits).last(vocab));
  Append(observed.forced_logits, sequence.Feed(std::span(prompt.greedy_ids).first(num_forced), /*prompt_length=*/0, [] {}));
  return observed;
}

}  // namespace intaglio::parity
