// What rank 0's process says to the others: one of a few words, with a body of bytes. While it has nothing to say it says so every second,
// since a group that waits for ever would never find a dead rank.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "collectives/collectives.h"

namespace intaglio::runtime {

enum class Word : uint32_t {
  kLoad,        // open a bundle; the body is its path, and how to compute with it
  kStep,        // run plan `number` on the rows of the body
  kResult,      // bring output `output` of plan `number` together
  kUnload,      // close the bundle
  kStillThere,
  kQuit,
};

struct Header {
  char version[24] = {};     // of rank 0's program: first, so that every version finds it; Say fills it in
  Word word = Word::kQuit;
  uint32_t body_bytes = 0;
  uint64_t number = 0;
  int32_t output = 0, padding = 0;
};

// Rank 0's side. Whoever uses the group otherwise holds a Turn.
class Conversation {
 public:
  // `on_failure` is called with the group's Error where a reminder meets it: rank 0 may have nothing to say for long. It has the turn, and
  // runs on a thread of its own.
  Conversation(collectives::Collectives& group, std::function<void(const Error&)> on_failure);
  ~Conversation();   // stops the reminders; says nothing more

  // Keeps reminders off the group while it lives.
  using Turn = std::unique_lock<std::mutex>;
  [[nodiscard]] Turn TakeTurn();
  // Throws the group's Error.   REQUIRES: the caller has the turn
  void Say(Header header, std::span<const std::byte> body = {});
  [[nodiscard]] collectives::Collectives& group() noexcept { return group_; }

 private:
  void Remind();

  collectives::Collectives& group_;
  const std::function<void(const Error&)> on_failure_;
  std::vector<std::byte> message_;
  std::mutex mutex_;
  std::condition_variable news_;
  bool has_spoken_ = false, is_over_ = false;
  std::thread reminder_;
};

// What another rank hears next, reminders left out. `body` is resized. Throws the group's Error, and kUnavailable where rank 0 is of another
// version.
[[nodiscard]] Header Hear(collectives::Collectives& group, std::vector<std::byte>& body);

}  // namespace intaglio::runtime
