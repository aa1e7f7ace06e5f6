// CompareModules: every module that a capture has input and output of, each fed with the golden input, so that no error of one reaches another.
#include <algorithm>
#include <cstring>

#include "base/fail.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/hf_config.h"
#include "checkpoint/safetensors.h"
#include "intaglio/parity.h"
#include "kernels/isa.h"
#include "models/decoder.h"
#include "parity/golden.h"
#include "parity/module_graph.h"
#include "parity/tolerances.h"

namespace intaglio {
namespace {

using checkpoint::SafetensorsFile;

constexpr double kBf16Tolerance = 3e-2;   // times the largest entry; tests/fixtures/README.md measured 1.1e-2
constexpr ModuleKind kOncePerLayer[]{ModuleKind::kInputNorm, ModuleKind::kAttention, ModuleKind::kMlp, ModuleKind::kDecoderLayer};

// The goldens of one prompt's inner values.
struct InnerValues {
  const SafetensorsFile& tensors;
  const std::string prefix;

  [[nodiscard]] bool has(const std::string& name) const { return tensors.has(prefix + name); }
  // Both are there, and not the same values: layers that normalise after their blocks have no norm between the two.
  [[nodiscard]] bool HasBoth(const parity::ModuleEnds& ends) const {
    if (!has(ends.from) || !has(ends.to)) return false;
    const std::span<const std::byte> from = tensors.tensor(prefix + ends.from).bytes, to = tensors.tensor(prefix + ends.to).bytes;
    return from.size() != to.size() || std::memcmp(from.data(), to.data(), from.size()) != 0;
  }
  // With rounded weights, a router may choose other experts than the golden's.
  [[nodiscard]] bool MayRoute(ModuleKind kind, int64_t layer) const {
    if (kind == ModuleKind::kMlp) return has(StrCat("layer", layer, ".router_logits"));
    return kind == ModuleKind::kDecoderLayer &&
           std::ranges::any_of(tensors.names(), [](const std::string& name) { return name.ends_with(".router_logits"); });
  }
  [[nodiscard]] int64_t rows(const std::string& name) const {
    const Shape& shape = tensors.tensor(prefix + name).shape;
    return shape.empty() ? 0 : shape.front();
  }
};

}  // namespace

ParityReport CompareModules(const std::filesystem::path& source, const std::filesystem::path& capture, const ParityOptions& options) {
  const parity::Golden golden = parity::ReadGolden(capture);
  const SafetensorsFile tensors = SafetensorsFile::Open(capture / "golden.safetensors");
  const InnerValues values{.tensors = tensors, .prefix = StrCat('p', golden.probed_prompt, '.')};
  const auto config = checkpoint::HfConfig::Parse(checkpoint::Checkpoint::Open(source)->config_json(), (source / "config.json").string());
  const auto model = models::ParseModel(config);

  ParityReport report;
  report.fixture = parity::WithoutSlash(capture).filename().string();
  report.architecture = model->architecture();
  report.dtype = options.dtype;
  report.isa = Name(options.isa.empty() ? kernels::IsaFromEnvironment() : kernels::ChooseIsa(options.isa));
  const bool is_strict = IsExactFor(golden, options.dtype);
  const double tolerance = is_strict ? parity::TolerancesOf(report.architecture).probes : kBf16Tolerance;
  const auto compare = [&](ModuleKind kind, int64_t layer) {
    const parity::ModuleEnds ends = parity::EndsOf(kind, layer, model->num_layers());
    if (!values.HasBoth(ends)) return;
    if (!is_strict && values.MayRoute(kind, layer)) {
      report.notes.push_back(StrCat(ends.from, " -> ", ends.to, ": not judged: with rounded weights, other experts may be chosen"));
      return;
    }
    const auto module = BuildModule({.checkpoint = source,
                                     .kind = kind,
                                     .layer = layer,
                                     .dtype = options.dtype,
                                     .isa = options.isa,
                                     .threads = options.threads,
                                     .max_tokens = values.rows(ends.from)});
    report.checks.push_back(ValidateAccuracy(*module, capture, tolerance));
  };
  for (int64_t layer = 0; layer < model->num_layers(); ++layer) {
    for (ModuleKind kind : kOncePerLayer) compare(kind, layer);
  }
  compare(ModuleKind::kFinalNorm, 0);
  return report;
}

}  // namespace intaglio
