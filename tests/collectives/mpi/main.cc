// The conformance tests on ranks that are processes: mpirun -n 4 mpi_conformance_test. Every rank runs all tests, in the same order, and each
// test makes a group of its own. Rank 0 reports; the others only what fails.
#include <gtest/gtest.h>
#include <mpi.h>

#include "collectives/mpi/mpi_rank.h"
#include "tests/collectives/groups.h"

namespace intaglio::collectives {
namespace {

void RunOnThisRank(int /*size*/, std::optional<Patience> patience, const std::function<void(Collectives&)>& body) {
  MpiRank rank(MPI_COMM_WORLD, patience.value_or(Patience{}));
  try {
    body(rank);
  } catch (const Error& e) { rank.Abort(e); }
  rank.Barrier();   // throws what has ended the group on any rank
}

}  // namespace

std::vector<TestedGroup> TestedGroups() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return {{"Processes", size, RunOnThisRank}};
}

}  // namespace intaglio::collectives

int main(int argc, char** argv) {
  int provided = 0, rank = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (rank != 0) GTEST_FLAG_SET(brief, true);
  testing::InitGoogleTest(&argc, argv);
  const int mine = RUN_ALL_TESTS();
  int all = 0;
  MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  return all;
}
