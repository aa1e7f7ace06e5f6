#include "parity/embedding_checks.h"

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "intaglio/embed.h"
#include "parity/tensor_checks.h"
#include "parity/text_checks.h"
#include "text/tokenizer.h"

namespace intaglio::parity {
namespace {

// tests/fixtures/README.md, "Tolerances". Hidden states are probes: relative to their largest entry. With weights rounded to bfloat16 the
// fixtures' vectors turn by 1 - cosine < 4e-5 (measured); ten times that is something else than rounding.
constexpr double kVectorTolerance = 1e-5, kCosineTolerance = 1e-5, kHiddenTolerance = 2e-5, kBf16CosineTolerance = 4e-4;

ParityCheck CheckIds(const std::filesystem::path& fixture, const Golden& golden) {
  const text::Tokenizer tokenizer = text::Tokenizer::Load(fixture);
  ParityCheck check{.name = "input_ids", .worst = 0, .tolerance = 0, .where = StrCat(golden.embeddings.size(), " texts"), .is_ok = true};
  for (const GoldenEmbedding& text : golden.embeddings) {
    if (tokenizer.Encode(text.text, /*add_special_tokens=*/true) == text.input_ids) continue;
    if (check.worst == 0) check.where = StrCat("ids of \"", text.text, '"');
    check.worst += 1;
  }
  check.is_ok = check.worst == 0;
  return check;
}

// The most that a row turned: 1 - cosine, in double.
ParityCheck CheckDirections(const checkpoint::SafetensorsFile& golden, const std::vector<float>& actual, double tolerance) {
  const std::vector<float> expected = ToF32(golden, "embeddings");
  const auto dim = static_cast<size_t>(golden.tensor("embeddings").shape.back());
  ParityCheck check{.name = "embeddings.1-cosine", .worst = 0, .tolerance = tolerance, .where = {}, .is_ok = true};
  for (size_t row = 0; (row + 1) * dim <= std::min(actual.size(), expected.size()); ++row) {
    double dot = 0, squares = 0, golden_squares = 0;
    for (size_t i = row * dim; i < (row + 1) * dim; ++i) {
      dot += static_cast<double>(actual[i]) * expected[i];
      squares += static_cast<double>(actual[i]) * actual[i];
      golden_squares += static_cast<double>(expected[i]) * expected[i];
    }
    const double turned = std::fabs(1 - dot / std::sqrt(squares * golden_squares));
    if (turned < check.worst) continue;
    check.worst = turned;
    check.where = StrCat("text ", row);
  }
  check.is_ok = check.worst <= check.tolerance;
  return check;
}

}  // namespace

std::vector<ParityCheck> CheckEmbeddings(const std::filesystem::path& fixture, const EmbeddingGoldens& goldens, Engine& engine) {
  std::vector<ParityCheck> checks = CheckTexts(fixture, goldens.golden);
  checks.push_back(CheckIds(fixture, goldens.golden));
  std::vector<std::vector<int32_t>> texts;
  std::vector<float> vectors;
  for (const GoldenEmbedding& text : goldens.golden.embeddings) {
    texts.push_back(text.input_ids);
    const std::vector<float> vector = Embed(engine, {&texts.back(), 1}).front();   // alone, so that all rows of a probe are its own
    vectors.insert(vectors.end(), vector.begin(), vector.end());
    const std::string hidden = StrCat('t', texts.size() - 1, ".last_hidden_state");
    const auto& names = goldens.tensors.names();
    if (!goldens.has_golden_weights || std::find(names.begin(), names.end(), hidden) == names.end()) continue;
    const auto probe = engine.probe("last_hidden_state");
    checks.push_back(CheckTensor(goldens.tensors, hidden, probe ? probe->values : std::vector<float>(), {.relative = kHiddenTolerance}));
  }
  if (goldens.has_golden_weights) {
    std::vector<float> together;   // the same texts sharing steps
    for (const std::vector<float>& vector : Embed(engine, texts)) together.insert(together.end(), vector.begin(), vector.end());
    checks.push_back(CheckTensor(goldens.tensors, "embeddings", vectors, {.absolute = kVectorTolerance}));
    checks.push_back(CheckTensor(goldens.tensors, "embeddings", together, {.absolute = kVectorTolerance}));
    checks.back().name = "embeddings.together";
  }
  checks.push_back(CheckDirections(goldens.tensors, vectors, goldens.has_golden_weights ? kCosineTolerance : kBf16CosineTolerance));
  return checks;
}

}  // namespace intaglio::parity
