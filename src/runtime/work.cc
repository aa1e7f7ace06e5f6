// Counts the matrices of plans, and what lies in the KV cache within the reach of a token.
#include "intaglio/work.h"

#include <algorithm>
#include <set>

#include "base/fail.h"
#include "bundle/bundle.h"
#include "kernels/kv_layout.h"
#include "kernels/params.h"
#include "runtime/batch.h"

namespace intaglio {
namespace {

using bundle::Call;
using bundle::Manifest;
using bundle::Plan;

bool IsMatMul(const Call& call) { return call.kernel.starts_with("matmul_") || call.kernel.starts_with("head_matmul_"); }

// Of the rows of a prompt, not of its outputs. The operands of a matmul are out, x, weight.
double ParametersOfARow(const Plan& plan) {
  double parameters = 0;
  for (const Call& call : plan.calls) {
    if (!IsMatMul(call) || call.ints[kernels::kDomain] != static_cast<int64_t>(kernels::Domain::kRows)) continue;
    parameters += static_cast<double>(call.operands[0].cols) * static_cast<double>(call.operands[2].cols);
  }
  return parameters;
}

// A weight that several calls share is counted once: norms and rotary rows are too small to count at all.
double MatrixBytes(const Plan& plan) {
  std::set<uint64_t> counted;
  double bytes = 0;
  for (const Call& call : plan.calls) {
    if (!IsMatMul(call)) continue;
    for (const bundle::Operand& operand : call.operands) {
      if (operand.space == bundle::Space::kWeights && counted.insert(operand.offset).second) bytes += static_cast<double>(operand.bytes);
    }
  }
  return bytes;
}

// Of one sequence in one step, whose last token is the `length`-th.
double CacheBytes(const Manifest& manifest, int64_t length) {
  double bytes = 0;
  for (const bundle::KvLayer& layer : manifest.kv_layers) {
    const int64_t window = manifest.kv_groups[static_cast<size_t>(layer.group)].window;
    const int64_t visible = window == 0 ? length : std::min(length, window);
    const int64_t block_bytes = kernels::KvBlockBytes(layer.kv_heads, {layer.head_dim, layer.value_dim(), layer.dtype});
    bytes += static_cast<double>(visible * block_bytes) / kernels::kKvTile;
  }
  for (const bundle::StateEntry& state : manifest.states) bytes += static_cast<double>(state.floats) * sizeof(float);
  return bytes;
}

}  // namespace

namespace {

Work CountWorkOf(const bundle::Bundle& bundle, const Decoding& decoding) {
  const auto prefill = runtime::SmallestPlan(bundle.plans, Phase::kContextEncoding, 1, 1);
  const auto decode = runtime::SmallestPlan(bundle.plans, Phase::kTokenGeneration, decoding.batch, decoding.batch);
  Require(prefill && decode, ErrorCode::kInvalidArgument, bundle.path.string(), ": the bundle has no graphs for prefill and for token generation of ",
          decoding.batch, " sequences");
  const Plan& plan = bundle.plans[*decode];
  Work work{.prefill_parameters = ParametersOfARow(bundle.plans[*prefill]),
            .decode_bytes = MatrixBytes(plan),
            .has_experts = std::ranges::any_of(plan.calls, [](const Call& call) { return call.kernel.starts_with("expert_matmul_"); })};
  double cache = 0;
  for (int32_t step = 1; step <= decoding.steps; ++step) cache += CacheBytes(bundle.manifest, int64_t{decoding.depth} + step);
  work.decode_bytes += cache / decoding.steps * decoding.batch;
  return work;
}

}  // namespace

Work CountWork(const std::filesystem::path& path, const Decoding& decoding) {
  bundle::Bundle bundle = bundle::Bundle::Open(path, /*verify_checksums=*/false);
  Work work = CountWorkOf(bundle, decoding);
  for (int rank = 1; rank < bundle.manifest.tp_degree; ++rank) {
    const Work more = CountWorkOf(bundle::Bundle::Open(path, /*verify_checksums=*/false, rank), decoding);
    work.prefill_parameters += more.prefill_parameters, work.decode_bytes += more.decode_bytes;
  }
  return work;
}

}  // namespace intaglio
