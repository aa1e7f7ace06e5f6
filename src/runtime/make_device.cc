#include "runtime/make_device.h"

#include "base/fail.h"
#include "runtime/cpu_device.h"
#include "runtime/ranks/placement.h"
#include "runtime/ranks/process_ranks.h"
#include "runtime/ranks/processes.h"
#include "runtime/ranks/thread_ranks.h"

namespace intaglio::runtime {
namespace {

// A bundle states its ranks: as many processes as have joined, or threads where this one is alone.
void RequireRanks(const bundle::Bundle& bundle, int num_processes) {
  const int num_ranks = bundle.manifest.tp_degree;
  Require(num_processes == num_ranks, ErrorCode::kInvalidArgument, bundle.path.string(), ": the bundle is for ", num_ranks,
          num_ranks == 1 ? " rank" : " ranks", ", but ", num_processes, " processes were started; start ", num_ranks,
          num_ranks == 1 ? "" : " (or none: then ranks are threads)", ", or make a bundle for them with: intaglio export CHECKPOINT OUT --tp ",
          num_processes);
}

collectives::Wire WireOf(const EngineOptions& options) {
  const std::string& wire = options.wire;
  Require(wire.empty() || wire == "f32" || wire == "bf16", ErrorCode::kInvalidArgument, "sums cannot travel as \"", wire, "\"; use f32 or bf16");
  return wire == "bf16" ? collectives::Wire::kBf16 : collectives::Wire::kF32;
}

Residency ResidencyOf(const EngineOptions& options) {
  return {.is_full = options.prefault, .is_locked = options.mlock, .on_progress = options.on_prefault};
}

}  // namespace

std::unique_ptr<Device> MakeDevice(const bundle::Bundle& bundle, kernels::Isa isa, const EngineOptions& options) {
  const int num_ranks = bundle.manifest.tp_degree;
  const PlacementOptions placement = PlacementOptionsOf(options);
  if (Conversation* conversation = JoinedConversation()) {
    RequireRanks(bundle, conversation->group().size());
    const RankOptions ranks{.isa = options.isa.empty() ? std::nullopt : std::optional(isa),
                            .placement = OfEachRank(placement, num_ranks),
                            .wire = WireOf(options),
                            .verify_checksums = options.verify_checksums,
                            .cache = options.cache,
                            .residency = ResidencyOf(options)};
    return std::make_unique<ProcessRanks>(bundle, isa, ranks, *conversation);
  }
  if (num_ranks == 1) {
    const RankCpus place = PlaceSingleRank(placement);
    BindThisThread(place);
    auto device = std::make_unique<CpuDevice>(bundle, isa, place);
    device->MakeResident(ResidencyOf(options));
    return device;
  }
  return std::make_unique<ThreadRanks>(bundle, ThreadRanks::Options{.isa = isa,
                                                                    .places = PlaceRanks(ReadTopology(), num_ranks, placement),
                                                                    .verify_checksums = options.verify_checksums,
                                                                    .cache = options.cache,
                                                                    .residency = ResidencyOf(options),
                                                                    .wire = WireOf(options)});
}

}  // namespace intaglio::runtime
