#include "runtime/ranks/process_ranks.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <stop_token>
#include <string>

#include "base/fail.h"
#include "collectives/failure.h"
#include "runtime/plan_check.h"
#include "runtime/ranks/agreement.h"
#include "runtime/ranks/load_together.h"
#include "runtime/ranks/step_message.h"

namespace intaglio::runtime {
namespace {

using collectives::OrAbort;

// kLoad's body: this, then the bundle's path, a zero, and the path of the cache.
struct LoadBody {
  int32_t isa = -1, threads_per_rank = 0, binding = -1;   // -1: the best isa, the usual binding
  int32_t verifies_checksums = 0, wire = 0, overlaps = 0;
  int32_t is_full = 0, is_locked = 0;   // Residency
};

// Sums travel beside the computation where they have a way to go: on one host they would only keep a core from computing.
bool AreOnSeveralHosts(const collectives::Collectives& group) { return LocalRankFromEnvironment().size < group.size(); }

RankLink LinkOf(const LoadBody& body, collectives::Collectives& group) {
  return {.group = &group, .wire = static_cast<collectives::Wire>(body.wire), .overlaps = body.overlaps != 0};
}

LoadBody BodyOf(const RankOptions& options, const collectives::Collectives& group) {
  return {.isa = options.isa ? static_cast<int32_t>(*options.isa) : -1,
          .threads_per_rank = options.placement.threads_per_rank,
          .binding = options.placement.binding ? static_cast<int32_t>(*options.placement.binding) : -1,
          .verifies_checksums = options.verify_checksums ? 1 : 0,
          .wire = static_cast<int32_t>(options.wire),
          .overlaps = AreOnSeveralHosts(group) ? 1 : 0,
          .is_full = options.residency.is_full ? 1 : 0,
          .is_locked = options.residency.is_locked ? 1 : 0};
}

std::vector<std::byte> EncodeLoad(const LoadBody& body, const std::filesystem::path& bundle, const std::filesystem::path& cache) {
  const std::string paths = StrCat(bundle.string(), '\0', cache.string());
  std::vector<std::byte> bytes(sizeof body + paths.size());
  std::memcpy(bytes.data(), &body, sizeof body);
  std::memcpy(bytes.data() + sizeof body, paths.data(), paths.size());
  return bytes;
}

struct LoadPaths {
  std::filesystem::path bundle, cache;
};

LoadPaths DecodePaths(std::span<const std::byte> bytes) {
  const std::string_view paths(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const size_t end = paths.find('\0');
  Require(end != std::string_view::npos, ErrorCode::kDataLoss, "rank 0 opens a bundle without saying where its cache is");
  return {.bundle = paths.substr(0, end), .cache = paths.substr(end + 1)};
}

// Binds the calling thread, and so those that it starts, for as long as the process lives.
RankCpus TakePlace(const PlacementOptions& options) {
  RankCpus place = PlaceProcess(ReadTopology(), LocalRankFromEnvironment(), options);
  BindThisThread(place);
  return place;
}

// Every rank has its own columns of the row, and receives the others'.
void GatherResult(const bundle::Manifest& manifest, std::span<const float> own, std::span<float> row, collectives::Collectives& group) {
  std::vector<int64_t> borders{0};
  for (const bundle::RankEntry& rank : manifest.ranks) borders.push_back(rank.vocab_end * static_cast<int64_t>(sizeof(float)));
  std::ranges::copy(own, row.begin() + manifest.vocab_begin);
  group.AllGather(std::as_writable_bytes(row), borders);
}

// Throws Error kDataLoss for what no rank 0 of this version says.
LoadBody DecodeLoad(std::span<const std::byte> bytes) {
  LoadBody body;
  Require(bytes.size() >= sizeof body, ErrorCode::kDataLoss, "rank 0 opens a bundle without saying how");
  std::memcpy(&body, bytes.data(), sizeof body);
  Require(body.binding >= -1 && body.binding <= static_cast<int32_t>(Binding::kNuma), ErrorCode::kDataLoss,
          "rank 0 asks for threads bound in a way that there is not");
  Require(body.isa >= -1 && body.isa <= static_cast<int32_t>(kernels::Isa::kAvx512Vnni), ErrorCode::kDataLoss,
          "rank 0 asks for an instruction set that there is not");
  Require(body.wire == static_cast<int32_t>(collectives::Wire::kF32) || body.wire == static_cast<int32_t>(collectives::Wire::kBf16),
          ErrorCode::kDataLoss, "rank 0 asks for sums to travel in a way that there is not");
  return body;
}

kernels::Isa ChooseIsa(const LoadBody& body) {
  return body.isa < 0 ? kernels::IsaFromEnvironment() : kernels::ChooseIsa(Name(static_cast<kernels::Isa>(body.isa)));
}

// What rank 0 says between kLoad and kUnload.
void FollowSteps(const bundle::Bundle& bundle, CpuDevice& device, collectives::Collectives& group) {
  ReceivedStep step(bundle);
  std::vector<std::byte> body;
  std::vector<float> row(static_cast<size_t>(bundle.manifest.vocab_size));
  for (Header header = Hear(group, body); header.word != Word::kUnload; header = Hear(group, body)) {
    Require(header.number < bundle.plans.size() && (header.word == Word::kStep || header.word == Word::kResult), ErrorCode::kDataLoss,
            "rank 0 asks for word ", static_cast<uint32_t>(header.word), " of plan ", header.number, ", which there is not");
    const bundle::Plan& plan = bundle.plans[header.number];
    if (header.word == Word::kStep) {
      device.Run(header.number, step.Decode(body, plan));
    } else {
      Require(header.output >= 0 && header.output < plan.outputs && !bundle.manifest.embedding, ErrorCode::kDataLoss, "rank 0 asks for output ",
              header.output, " of ", plan.outputs);
      GatherResult(bundle.manifest, device.Result(header.number, header.output), row, group);
    }
  }
}

}  // namespace

ProcessRanks::ProcessRanks(const bundle::Bundle& bundle, kernels::Isa isa, const RankOptions& options, Conversation& conversation)
    : bundle_(bundle), conversation_(conversation) {
  const Conversation::Turn turn = conversation_.TakeTurn();
  collectives::Collectives& group = conversation_.group();
  OrAbort(group, [&] {
    const LoadBody body = BodyOf(options, group);
    conversation_.Say({.word = Word::kLoad}, EncodeLoad(body, bundle.path, options.cache));
    const RankCpus place = TakePlace(options.placement);
    LoadTogether(group, [](const std::stop_token&) {});   // the others open theirs
    Agree(bundle, group);
    LoadTogether(group, [&](const std::stop_token& stop) {
      device_ = std::make_unique<CpuDevice>(bundle, isa, place, LinkOf(body, group), stop);
      device_->MakeResident(options.residency, stop);
    });
  });
}

ProcessRanks::~ProcessRanks() {
  try {
    const Conversation::Turn turn = conversation_.TakeTurn();
    conversation_.Say({.word = Word::kUnload});
  } catch (const std::exception&) {}   // the group has failed: the others have ended
}

void ProcessRanks::Run(size_t plan, const kernels::StepView& view) {
  const Conversation::Turn turn = conversation_.TakeTurn();
  OrAbort(conversation_.group(), [&] {
    message_.clear();
    EncodeStep(view, bundle_.manifest.kv_groups.size(), message_);
    conversation_.Say({.word = Word::kStep, .number = plan}, message_);
    device_->Run(plan, view);
  });
}

std::span<const float> ProcessRanks::Result(size_t plan, int32_t output) {
  if (bundle_.manifest.embedding) return device_->Result(plan, output);
  const Conversation::Turn turn = conversation_.TakeTurn();
  const auto vocab = static_cast<size_t>(bundle_.manifest.vocab_size);
  if (results_.empty()) {
    int32_t outputs = 0;
    for (const bundle::Plan& p : bundle_.plans) outputs = std::max(outputs, p.outputs);
    results_.resize(static_cast<size_t>(outputs) * vocab);
  }
  const auto row = std::span(results_).subspan(static_cast<size_t>(output) * vocab, vocab);
  OrAbort(conversation_.group(), [&] {
    conversation_.Say({.word = Word::kResult, .number = plan, .output = output});
    GatherResult(bundle_.manifest, device_->Result(plan, output), row, conversation_.group());
  });
  return row;
}

void FollowRankZero(std::span<const std::byte> load, collectives::Collectives& group) {
  OrAbort(group, [&] {
    const LoadBody options = DecodeLoad(load);
    const LoadPaths paths = DecodePaths(load.subspan(sizeof options));
    const RankCpus place = TakePlace({.threads_per_rank = options.threads_per_rank,
                                      .binding = options.binding < 0 ? std::nullopt : std::optional(static_cast<Binding>(options.binding))});
    bundle::Bundle bundle;
    std::unique_ptr<CpuDevice> device;
    LoadTogether(group, [&](const std::stop_token& stop) {
      bundle = bundle::Bundle::Open(paths.bundle, options.verifies_checksums != 0, group.rank(), stop, KnownHashes(paths.cache));
      CheckManifest(bundle.manifest), CheckPlans(bundle.plans, bundle.manifest);
    });
    Agree(bundle, group);
    LoadTogether(group, [&](const std::stop_token& stop) {
      device = std::make_unique<CpuDevice>(bundle, ChooseIsa(options), place, LinkOf(options, group), stop);
      device->MakeResident({.is_full = options.is_full != 0, .is_locked = options.is_locked != 0}, stop);
    });
    FollowSteps(bundle, *device, group);
  });
}

}  // namespace intaglio::runtime
