// One rank, through the plugin, which goes wrong as it is told: mpirun -n 4 mpi_rank KIND [RANK]. Ranks add numbers for ever, or, where KIND
// is "nothing", for a while. The rank that speaks says how it ended, and the status is 3 after an Error.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/strings.h"
#include "collectives/process_group.h"
#include "tests/collectives/groups.h"

namespace intaglio::collectives {
namespace {

constexpr int kBadRound = 20, kLastRound = 100;
constexpr Patience kPatience{.deadline = std::chrono::seconds(2)};

void GoWrong(std::string_view kind, Collectives& group) {
  if (kind == "dies") raise(SIGKILL);
  if (kind == "stops") raise(SIGSTOP);
  if (kind == "stalls") std::this_thread::sleep_for(std::chrono::hours(1));
  if (kind == "disagrees") group.Barrier();
  if (kind == "throws") throw Error(ErrorCode::kNotFound, "weights.rank1.bin is not there");
  if (kind == "aborts") group.Abort({ErrorCode::kDataLoss, "the answer is lost"});
  if (kind == "exits") std::exit(0);
}

void Play(std::string_view kind, int bad_rank, Collectives& group) {
  for (int round = 0; kind != "nothing" || round < kLastRound; ++round) {
    if (round == kBadRound && group.rank() == bad_rank) GoWrong(kind, group);
    const int64_t count = round % 2 == 0 ? 100 : 100000;
    std::vector<float> values = Inputs(group.rank(), count);
    group.AllReduce(values);
    if (values.back() != Tree([&] {
          std::vector<float> terms;
          for (int r = 0; r < group.size(); ++r) terms.push_back(InputAt(r, count - 1));
          return terms;
        }())) {
      throw Error(ErrorCode::kDataLoss, "a sum is wrong");
    }
  }
}

int Main(std::string_view kind, int bad_rank) {
  bool is_speaker = true;
  try {
    const auto group = ProcessGroup::Join(kPatience);
    if (group == nullptr) {
      std::puts("no group");
      return 0;
    }
    try {
      if (kind == "leaves" && group->collectives().rank() == bad_rank) return 3;   // without a word
      group->Run([&](Collectives& ranks) { Play(kind, bad_rank, ranks); });
      is_speaker = group->is_speaker();
      group->Leave();
    } catch (const Error&) {
      is_speaker = group->is_speaker();
      throw;
    }
    if (is_speaker) std::puts("fine");
    return 0;
  } catch (const Error& e) {
    if (is_speaker) std::fprintf(stderr, "error %d: %s\n", static_cast<int>(e.code()), e.what());
    return 3;
  }
}

}  // namespace
}  // namespace intaglio::collectives

int main(int argc, char** argv) { return intaglio::collectives::Main(argc > 1 ? argv[1] : "nothing", argc > 2 ? std::atoi(argv[2]) : 1); }
