#include "runtime/ranks/conversation.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string_view>

#include "base/fail.h"

namespace intaglio::runtime {
namespace {

constexpr auto kReminder = std::chrono::seconds(1);
// This much of a message, header included, travels at once: the steps of token generation are one broadcast.
constexpr size_t kFirstBytes = 2048, kFirstBody = kFirstBytes - sizeof(Header);
static_assert(sizeof(Header) == 48, "no padding: it travels as bytes");

void PutVersion(char (&to)[24]) { std::string_view(INTAGLIO_VERSION).copy(to, sizeof to - 1); }

void RequireOwnVersion(const Header& header) {
  Header own;
  PutVersion(own.version);
  const std::string_view theirs(header.version, strnlen(header.version, sizeof header.version));
  Require(theirs == own.version, ErrorCode::kUnavailable, "is of version ", own.version, " of intaglio, but rank 0 is of ", theirs,
          "; start all ranks with one version");
}

}  // namespace

Conversation::Conversation(collectives::Collectives& group, std::function<void(const Error&)> on_failure)
    : group_(group), on_failure_(std::move(on_failure)), message_(kFirstBytes), reminder_([this] { Remind(); }) {}

Conversation::~Conversation() {
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  news_.notify_all();
  reminder_.join();
}

Conversation::Turn Conversation::TakeTurn() { return Turn(mutex_); }

void Conversation::Say(Header header, std::span<const std::byte> body) {
  has_spoken_ = true;
  PutVersion(header.version);
  header.body_bytes = static_cast<uint32_t>(body.size());
  message_.assign(std::max(kFirstBytes, sizeof header + body.size()), std::byte{0});
  std::memcpy(message_.data(), &header, sizeof header);
  std::ranges::copy(body, message_.begin() + sizeof header);
  group_.Broadcast(std::span(message_).first(kFirstBytes), /*root=*/0);
  if (message_.size() > kFirstBytes) group_.Broadcast(std::span(message_).subspan(kFirstBytes), /*root=*/0);
}

void Conversation::Remind() {
  std::unique_lock lock(mutex_);
  while (!is_over_) {
    has_spoken_ = false;
    news_.wait_for(lock, kReminder, [this] { return is_over_; });
    if (is_over_ || has_spoken_) continue;
    try {
      Say({.word = Word::kStillThere});
    } catch (const Error& e) { return on_failure_(e); }   // whoever speaks next is told too
  }
}

Header Hear(collectives::Collectives& group, std::vector<std::byte>& body) {
  while (true) {
    std::byte first[kFirstBytes];
    group.Broadcast(first, /*root=*/0);
    Header header;
    std::memcpy(&header, first, sizeof header);
    RequireOwnVersion(header);
    if (header.word == Word::kStillThere) continue;
    body.resize(header.body_bytes);
    std::copy_n(first + sizeof header, std::min(body.size(), kFirstBody), body.begin());
    if (body.size() > kFirstBody) group.Broadcast(std::span(body).subspan(kFirstBody), /*root=*/0);
    return header;
  }
}

}  // namespace intaglio::runtime
