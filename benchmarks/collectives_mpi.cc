// All-reduce and all-gather of ranks that are processes, beside MPI's own all-reduce.   mpirun -n RANKS collectives_mpi_benchmark
#include <mpi.h>

#include <cstdio>
#include <string>

#include "benchmarks/collectives.h"
#include "collectives/process_group.h"

int main() {
  const auto group = intaglio::collectives::ProcessGroup::Join();
  if (group == nullptr) {
    std::puts("start several ranks: mpirun -n 2 collectives_mpi_benchmark");
    return 2;
  }
  const std::string name = std::to_string(group->collectives().size()) + " processes";
  intaglio::benchmarks::TimeCollectives(group->collectives(), name, [](std::span<float> values) {
    MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
  });
  group->Leave();
}
