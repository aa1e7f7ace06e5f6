// CompareOnText: two engines take the same windows of a text in turn, and their logits are compared row by row while both still hold them.
#include "intaglio/accuracy.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/fail.h"
#include "base/thread_pool.h"
#include "parity/distribution.h"

namespace intaglio {
namespace {

constexpr int64_t kDefaultContext = 512, kLeastContext = 3;

// What the two say about the token that follows one token of the text.
struct Verdict {
  double divergence = 0, loss = 0, reference_loss = 0;   // nats; a loss is that of the token that does follow
  bool is_same_top = false;
};

Verdict Judge(std::span<const float> logits, std::span<const float> reference_logits, int32_t successor) {
  const parity::Distribution ours(logits), reference(reference_logits);
  const auto token = static_cast<size_t>(successor);
  return {.divergence = Divergence(ours, reference),
          .loss = -ours.LogProbability(token),
          .reference_loss = -reference.LogProbability(token),
          .is_same_top = ours.likeliest() == reference.likeliest()};
}

// An engine and the one slot of it that is used.
class Reader {
 public:
  Reader(const std::filesystem::path& bundle, EngineOptions options) {
    options.allow_failed_parity = true;
    engine_ = Engine::Load(bundle, options);
    Require(info().embedding_dim == 0, ErrorCode::kUnsupported, bundle.string(), ": the bundle embeds texts; next tokens are predicted by one of ",
            "export --task generate");
    slot_ = engine_->AcquireSlot().value();
  }

  [[nodiscard]] const ModelInfo& info() const { return engine_->info(); }
  [[nodiscard]] size_t max_outputs() const { return static_cast<size_t>(engine_->max_outputs(StepKind::kContextEncoding)); }
  void Restart() { engine_->Truncate(slot_, 0); }

  // Goes on with tokens of a window, of which no logits are wanted.
  void Read(std::span<const int32_t> tokens, size_t window) {
    const auto chunk = static_cast<size_t>(engine_->max_rows(StepKind::kContextEncoding));
    for (; !tokens.empty(); tokens = tokens.subspan(std::min(chunk, tokens.size())))
      Step(tokens.first(std::min(chunk, tokens.size())), /*outputs=*/0, window);
  }
  // The logits after each of the tokens, valid until the next step.   REQUIRES: no more tokens than max_outputs()
  std::span<const StepOutput> Predict(std::span<const int32_t> tokens, size_t window) { return Step(tokens, tokens.size(), window); }

 private:
  std::span<const StepOutput> Step(std::span<const int32_t> tokens, size_t outputs, size_t window) {
    const StepSequence sequence{.slot = slot_,
                                .tokens = tokens,
                                .outputs = static_cast<int32_t>(outputs),
                                .sampling = nullptr,
                                .prompt_length = static_cast<int32_t>(window)};
    return engine_->Step(StepKind::kContextEncoding, {&sequence, 1});
  }

  std::unique_ptr<Engine> engine_;
  int32_t slot_ = 0;
};

class Comparison {
 public:
  Comparison(Reader& bundle, Reader& reference)
      : bundle_(bundle),
        reference_(reference),
        chunk_(std::min(bundle.max_outputs(), reference.max_outputs())),
        pool_(bundle.info().threads * bundle.info().tp_degree, ThreadPool::Workers::kFloating) {}

  void Add(std::span<const int32_t> window) {
    const size_t first = window.size() / 2;
    for (Reader* reader : {&bundle_, &reference_}) {
      reader->Restart();
      reader->Read(window.first(first), window.size());
    }
    for (size_t begin = first; begin + 1 < window.size(); begin += chunk_) AddRows(window, begin, std::min(chunk_, window.size() - 1 - begin));
  }

  [[nodiscard]] TextAccuracy Finish() const {
    const auto count = static_cast<double>(verdicts_.size());
    std::vector<double> divergences;
    double kl = 0, loss = 0, reference_loss = 0;
    for (const Verdict& verdict : verdicts_) {
      divergences.push_back(verdict.divergence);
      kl += verdict.divergence, loss += verdict.loss, reference_loss += verdict.reference_loss;
    }
    std::ranges::sort(divergences);
    return {.tokens = std::ssize(verdicts_),
            .kl_mean = kl / count,
            .kl_p99 = Quantile(divergences, 0.99),
            .kl_worst = divergences.back(),
            .top1_agreement = static_cast<double>(std::ranges::count_if(verdicts_, &Verdict::is_same_top)) / count,
            .perplexity = std::exp(loss / count),
            .reference_perplexity = std::exp(reference_loss / count)};
  }

 private:
  // The chunk [begin, begin + size) of a window, row by row on all threads: a row's verdict depends on nothing else.
  void AddRows(std::span<const int32_t> window, size_t begin, size_t size) {
    const std::span<const int32_t> tokens = window.subspan(begin, size);
    struct Rows {
      std::span<const StepOutput> ours, reference;
      std::span<const int32_t> successors;
      std::span<Verdict> verdicts;
    };
    verdicts_.resize(verdicts_.size() + size);
    Rows rows{.ours = bundle_.Predict(tokens, window.size()),
              .reference = reference_.Predict(tokens, window.size()),
              .successors = window.subspan(begin + 1, size),
              .verdicts = std::span(verdicts_).last(size)};
    const auto judge = [](void* context, int64_t row, int) noexcept {
      const Rows& all = *static_cast<Rows*>(context);
      const auto i = static_cast<size_t>(row);
      all.verdicts[i] = Judge(all.ours[i].logits, all.reference[i].logits, all.successors[i]);
    };
    pool_.ParallelFor(static_cast<int64_t>(size), judge, &rows);
  }

  // Between two values in proportion.
  static double Quantile(const std::vector<double>& sorted, double share) {
    const double place = share * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<size_t>(place);
    const double part = place - std::floor(place);
    return part == 0 ? sorted[below] : (1 - part) * sorted[below] + part * sorted[below + 1];
  }

  Reader &bundle_, &reference_;
  const size_t chunk_;
  ThreadPool pool_;
  std::vector<Verdict> verdicts_;
};

std::string NameOf(const ModelInfo& info) {
  return StrCat(info.source, ", ", info.weight_dtype, " weights", info.kv_dtype == "f32" ? "" : ", " + info.kv_dtype + " KV cache");
}

int64_t WindowOf(const ModelInfo& bundle, const ModelInfo& reference, int64_t asked) {
  const int64_t room = std::min(bundle.max_context, reference.max_context), window = asked == 0 ? std::min(kDefaultContext, room) : asked;
  Require(window <= room, ErrorCode::kInvalidArgument, "a window of ", window, " tokens is more than the context of ", room,
          " that both bundles hold: take --context ", room, ", or export with --max-context ", window, " or more");
  Require(window >= kLeastContext, ErrorCode::kInvalidArgument, "a window of ", window, " tokens leaves none to judge: take --context ",
          kLeastContext, " or more");
  return window;
}

}  // namespace

TextAccuracy CompareOnText(const std::filesystem::path& bundle, const std::filesystem::path& reference, std::span<const int32_t> tokens,
                           const AccuracyOptions& options) {
  Reader ours(bundle, options.engine), theirs(reference, options.engine);
  Require(ours.info().vocab_size == theirs.info().vocab_size, ErrorCode::kInvalidArgument, bundle.string(), " has a vocabulary of ",
          ours.info().vocab_size, ", ", reference.string(), " one of ", theirs.info().vocab_size, "; are they of one model?");
  const int64_t window = WindowOf(ours.info(), theirs.info(), options.context);
  if (options.max_tokens > 0) tokens = tokens.first(std::min(tokens.size(), static_cast<size_t>(options.max_tokens)));
  const int64_t num_windows = std::ssize(tokens) / window;
  Require(num_windows > 0, ErrorCode::kInvalidArgument, "the text has ", tokens.size(), " tokens, and is not one window of ", window,
          ": give a longer one, or --context ", std::max<int64_t>(kLeastContext, std::ssize(tokens)));
  const bool has_bos = ours.info().bos_id >= 0 && tokens.front() == ours.info().bos_id;
  Comparison comparison(ours, theirs);
  for (int64_t i = 0; i < num_windows; ++i) {
    if (options.on_window) options.on_window(i, num_windows);
    const auto part = tokens.subspan(static_cast<size_t>(i * window), static_cast<size_t>(window));
    std::vector<int32_t> ids(part.begin(), part.end());
    if (has_bos) ids.front() = ours.info().bos_id;
    comparison.Add(ids);
  }
  TextAccuracy accuracy = comparison.Finish();
  accuracy.bundle = NameOf(ours.info()), accuracy.reference = NameOf(theirs.info());
  accuracy.isa = ours.info().isa;
  accuracy.context = window, accuracy.windows = num_windows;
  return accuracy;
}

}  // namespace intaglio
