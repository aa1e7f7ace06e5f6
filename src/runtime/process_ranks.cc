#include "runtime/process_ranks.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "base/fail.h"
#include "runtime/agreement.h"
#include "runtime/step_message.h"

namespace intaglio::runtime {
namespace {

constexpr auto kHeartbeat = std::chrono::seconds(1);

enum class Word : uint32_t { kStep, kResult, kStillThere, kStop };
struct Header {
  Word word = Word::kStop;
  uint32_t body_bytes = 0;
  uint64_t plan = 0;
  int32_t output = 0, padding = 0;
};
// A message begins with a header. This much of it travels at once, so that the steps of token generation are one broadcast.
constexpr size_t kFirstBytes = 2048;

// `message` begins with room for a header, and is padded here.
void Send(const Header& header, std::vector<std::byte>& message, collectives::Collectives& group) {
  std::memcpy(message.data(), &header, sizeof header);
  message.resize(std::max(message.size(), kFirstBytes));
  group.Broadcast(std::span(message).first(kFirstBytes), 0);
  if (message.size() > kFirstBytes) group.Broadcast(std::span(message).subspan(kFirstBytes), 0);
}

void SendWord(const Header& header, std::vector<std::byte>& message, collectives::Collectives& group) {
  message.assign(kFirstBytes, std::byte{0});
  Send(header, message, group);
}

Header Receive(std::vector<std::byte>& message, collectives::Collectives& group) {
  message.resize(kFirstBytes);
  group.Broadcast(message, 0);
  Header header;
  std::memcpy(&header, message.data(), sizeof header);
  if (sizeof header + header.body_bytes > kFirstBytes) {
    message.resize(sizeof header + header.body_bytes);
    group.Broadcast(std::span(message).subspan(kFirstBytes), 0);
  }
  return header;
}

// Every rank has its own columns of the row, and receives the others'.
void GatherResult(const bundle::Manifest& manifest, std::span<const float> own, std::span<float> row, collectives::Collectives& group) {
  std::vector<int64_t> borders{0};
  for (const bundle::RankEntry& rank : manifest.ranks) borders.push_back(rank.vocab_end * static_cast<int64_t>(sizeof(float)));
  std::ranges::copy(own, row.begin() + manifest.vocab_begin);
  group.AllGather(std::as_writable_bytes(row), borders);
}

}  // namespace

ProcessRanks::ProcessRanks(const bundle::Bundle& bundle, kernels::Isa isa, int num_threads, collectives::Collectives& group)
    : bundle_(bundle), group_(group), device_(bundle, isa, num_threads, &group) {
  Agree(bundle, group);
  heartbeat_ = std::thread([this] { KeepInTouch(); });
}

ProcessRanks::~ProcessRanks() {
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  news_.notify_all();
  heartbeat_.join();
  try {
    SendWord({.word = Word::kStop}, message_, group_);
  } catch (const Error&) {}   // the group has failed: the others have ended
}

void ProcessRanks::KeepInTouch() {
  std::vector<std::byte> message;
  std::unique_lock lock(mutex_);
  while (!is_over_) {
    has_spoken_ = false;
    news_.wait_for(lock, kHeartbeat, [this] { return is_over_; });
    if (is_over_ || has_spoken_) continue;
    try {
      SendWord({.word = Word::kStillThere}, message, group_);
    } catch (const Error&) { return; }   // the next step says so
  }
}

void ProcessRanks::Run(size_t plan, const kernels::StepView& view) {
  const std::lock_guard lock(mutex_);
  has_spoken_ = true;
  message_.assign(sizeof(Header), std::byte{0});
  EncodeStep(view, bundle_.manifest.kv_groups.size(), message_);
  Send({.word = Word::kStep, .body_bytes = static_cast<uint32_t>(message_.size() - sizeof(Header)), .plan = plan}, message_, group_);
  try {
    device_.Run(plan, view);
  } catch (const Error& e) {
    group_.Abort(e);
    throw;
  }
}

std::span<const float> ProcessRanks::Result(size_t plan, int32_t output) {
  if (bundle_.manifest.embedding) return device_.Result(plan, output);
  const std::lock_guard lock(mutex_);
  has_spoken_ = true;
  const auto vocab = static_cast<size_t>(bundle_.manifest.vocab_size);
  if (results_.empty()) {
    int32_t outputs = 0;
    for (const bundle::Plan& p : bundle_.plans) outputs = std::max(outputs, p.outputs);
    results_.resize(static_cast<size_t>(outputs) * vocab);
  }
  const auto row = std::span(results_).subspan(static_cast<size_t>(output) * vocab, vocab);
  SendWord({.word = Word::kResult, .plan = plan, .output = output}, message_, group_);
  GatherResult(bundle_.manifest, device_.Result(plan, output), row, group_);
  return row;
}

void FollowRankZero(const bundle::Bundle& bundle, kernels::Isa isa, int num_threads, collectives::Collectives& group) {
  try {
    CpuDevice device(bundle, isa, num_threads, &group);
    Agree(bundle, group);
    ReceivedStep step(bundle);
    std::vector<std::byte> message;
    std::vector<float> row(static_cast<size_t>(bundle.manifest.vocab_size));
    while (true) {
      const Header header = Receive(message, group);
      if (header.word == Word::kStop) return;
      if (header.word == Word::kStillThere) continue;
      Require(header.plan < bundle.plans.size(), ErrorCode::kDataLoss, "rank 0 runs plan ", header.plan, " of ", bundle.plans.size(),
              "; do all ranks run one bundle?");
      const auto body = std::span(message).subspan(sizeof header);
      if (header.word == Word::kStep) {
        device.Run(header.plan, step.Decode(body, bundle.plans[header.plan]));
      } else {
        GatherResult(bundle.manifest, device.Result(header.plan, header.output), row, group);
      }
    }
  } catch (const Error& e) {
    group.Abort(e);
    throw;
  }
}

}  // namespace intaglio::runtime
