// libintaglio_mpi.so: MPI for process_group.h.
#include <mpi.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <thread>

#include "base/fail.h"
#include "collectives/mpi/mpi_rank.h"
#include "collectives/process_group.h"

namespace intaglio::collectives {
namespace {

// How long those who need not speak leave the word to the one that must: its end is the end of the whole job.
constexpr std::chrono::milliseconds kTimeToSpeak{500};

void EndTheOthers(int status, void* /*unused*/) { MPI_Abort(MPI_COMM_WORLD, status == 0 ? EXIT_FAILURE : status); }

void StartMpi() {
  int is_started = 0, provided = 0;
  MPI_Initialized(&is_started);
  Require(is_started == 0, ErrorCode::kInvalidArgument, "a process can join its group once only");
  // So that a whole frame goes in one piece, instead of 4 KiB: 4 KiB then take 1.1 us instead of 3.6, 16 KiB 3.8 instead of 6.7 (two ranks on
  // Zen 4, Open MPI 4.1, 2026-11-24). What the user has set counts.
  setenv("OMPI_MCA_btl_vader_eager_limit", "32768", /*replace=*/0);
  Require(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided) == MPI_SUCCESS, ErrorCode::kUnavailable, "MPI does not start");
  Require(provided >= MPI_THREAD_SERIALIZED, ErrorCode::kUnsupported, "this MPI cannot be called by more than one thread; build it with threads");
}

class MpiGroup final : public ProcessGroup {
 public:
  explicit MpiGroup(Patience patience) {
    StartMpi();
    MPI_Comm_rank(MPI_COMM_WORLD, &number_);
    rank_.emplace(MPI_COMM_WORLD, patience);
  }

  ~MpiGroup() override {
    if (!rank_) return;
    rank_->Abort({ErrorCode::kUnavailable, "has ended before the others"});
    try {
      rank_->Barrier();
    } catch (const Error&) {   // the one that all know now
      if (!is_speaker()) {
        std::this_thread::sleep_for(kTimeToSpeak);
      } else if (!AllHaveAnswered()) {
        on_exit(EndTheOthers, nullptr);   // the last resort, should the launcher do nothing
      }
    }
  }

  Collectives& collectives() noexcept override { return *rank_; }

  void Leave() override {
    rank_->Barrier();
    rank_.reset();
    MPI_Finalize();
  }

  [[nodiscard]] bool is_speaker() const noexcept override {
    if (!rank_ || !rank_->post().has_failed()) return number_ == 0;
    for (int r = 0; r < number_; ++r) {
      if (rank_->post().has_answered(r)) return false;
    }
    return true;
  }

 private:
  [[nodiscard]] bool AllHaveAnswered() const noexcept {
    for (int r = 0; r < rank_->size(); ++r) {
      if (!rank_->post().has_answered(r)) return false;
    }
    return true;
  }

  int number_ = 0;
  std::optional<MpiRank> rank_;   // until this rank leaves
};

}  // namespace
}  // namespace intaglio::collectives

extern "C" __attribute__((visibility("default"))) intaglio::collectives::ProcessGroup* IntaglioJoinMpi(
    int interface, const intaglio::collectives::Patience* patience) {
  if (interface != intaglio::collectives::kPluginInterface) return nullptr;
  return std::make_unique<intaglio::collectives::MpiGroup>(*patience).release();
}
