#include "runtime/ranks/processes.h"

#include <exception>
#include <optional>

#include "base/fail.h"
#include "runtime/ranks/placement.h"
#include "runtime/ranks/process_ranks.h"

namespace intaglio {
namespace {

using runtime::Conversation;

class JoinedProcesses;
JoinedProcesses* joined = nullptr;   // MPI knows one group a process, and so do we

class JoinedProcesses final : public Processes {
 public:
  JoinedProcesses(std::unique_ptr<collectives::ProcessGroup> group, std::function<void(const Error&)> on_failure) : group_(std::move(group)) {
    if (rank() == 0) conversation_.emplace(group_->collectives(), std::move(on_failure));
    joined = this;
  }
  ~JoinedProcesses() override {
    joined = nullptr;
    try {
      if (rank() == 0) Leave();
    } catch (const std::exception&) {}   // the group has failed, which was said before, or fails when group_ ends without having left
  }

  [[nodiscard]] int rank() const noexcept override { return group_->collectives().rank(); }
  [[nodiscard]] int size() const noexcept override { return group_->collectives().size(); }
  [[nodiscard]] bool is_speaker() const noexcept override { return group_->is_speaker(); }

  void Follow() override {
    group_->Run([](collectives::Collectives& group) {
      std::vector<std::byte> body;
      for (runtime::Header header = runtime::Hear(group, body); header.word != runtime::Word::kQuit; header = runtime::Hear(group, body)) {
        Require(header.word == runtime::Word::kLoad, ErrorCode::kDataLoss, "rank 0 asks for a step of a bundle that it has not opened");
        runtime::FollowRankZero(body, group);
      }
    });
    group_->Leave();
  }

  void Leave() override {
    if (!conversation_) return;
    {
      const Conversation::Turn turn = conversation_->TakeTurn();
      conversation_->Say({.word = runtime::Word::kQuit});
    }
    conversation_.reset();
    group_->Leave();
  }

  [[nodiscard]] Conversation* conversation() noexcept { return conversation_ ? &*conversation_ : nullptr; }

 private:
  std::unique_ptr<collectives::ProcessGroup> group_;
  std::optional<Conversation> conversation_;   // of rank 0, until it leaves
};

}  // namespace

std::unique_ptr<Processes> Processes::Join(std::function<void(const Error&)> on_failure) {
  auto group = collectives::ProcessGroup::Join();
  return group == nullptr ? nullptr : std::make_unique<JoinedProcesses>(std::move(group), std::move(on_failure));
}

bool Processes::IsFirstOfHost() noexcept { return runtime::LocalRankFromEnvironment().rank == 0; }

runtime::Conversation* runtime::JoinedConversation() noexcept { return joined == nullptr ? nullptr : joined->conversation(); }

}  // namespace intaglio
