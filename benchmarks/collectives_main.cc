// All-reduce and all-gather of ranks that are threads.   collectives_benchmark [ranks...]
#include <cstdlib>
#include <string>
#include <vector>

#include "benchmarks/collectives.h"
#include "collectives/thread_group.h"

int main(int argc, char** argv) {
  std::vector<int> sizes;
  for (int i = 1; i < argc; ++i) sizes.push_back(std::atoi(argv[i]));
  if (sizes.empty()) sizes = {2, 4};
  for (int size : sizes) {
    const std::string name = std::to_string(size) + " threads";
    intaglio::collectives::ThreadGroup(size).Run(
        [&](intaglio::collectives::Collectives& group) { intaglio::benchmarks::TimeCollectives(group, name, nullptr); });
  }
}
