#include "runtime/ranks/load_together.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <future>
#include <thread>
#include <vector>

namespace intaglio::runtime {

void LoadTogether(collectives::Collectives& group, const std::function<void(const std::stop_token&)>& load) {
  constexpr auto kInterval = std::chrono::milliseconds(50);
  const auto num_ranks = static_cast<size_t>(group.size());
  std::vector<std::byte> are_ready(num_ranks);
  std::vector<int64_t> borders;
  for (size_t r = 0; r <= num_ranks; ++r) borders.push_back(static_cast<int64_t>(r));
  std::packaged_task<void(std::stop_token)> task(load);
  std::future<void> loading = task.get_future();
  const std::jthread loader(std::move(task));   // which an exception asks to stop
  std::byte& is_ready = are_ready[static_cast<size_t>(group.rank())];
  while (std::ranges::count(are_ready, std::byte{1}) != group.size()) {
    if (is_ready == std::byte{0} && loading.wait_for(kInterval) == std::future_status::ready) {
      loading.get();   // throws what failed
      is_ready = std::byte{1};
    }
    group.AllGather(are_ready, borders);
  }
}

}  // namespace intaglio::runtime
