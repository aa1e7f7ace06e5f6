#include "benchmarks/collectives.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

namespace intaglio::benchmarks {
namespace {

constexpr int kRounds = 21;   // of which the best counts

// Of a call, seen from this rank: all ranks start together and make as many calls.
template <typename Call>
double Microseconds(collectives::Collectives& group, int num_calls, Call call) {
  group.Barrier();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < num_calls; ++i) call();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count() / num_calls;
}

std::vector<int64_t> EvenBorders(int size, size_t bytes) {
  std::vector<int64_t> borders;
  for (int r = 0; r <= size; ++r) borders.push_back(static_cast<int64_t>(bytes / 4) * r / size * 4);
  return borders;
}

}  // namespace

void TimeCollectives(collectives::Collectives& group, const std::string& name, const std::function<void(std::span<float>)>& theirs) {
  if (group.rank() == 0) {
    std::printf("%s, us; in brackets as a multiple of copying\n| KiB | copy | all-reduce | GB/s | as bf16 | all-gather |%s\n", name.c_str(),
                theirs ? " MPI_Allreduce | all-reduce / MPI_Allreduce |" : "");
  }
  for (size_t bytes = 1 << 10; bytes <= size_t{16} << 20; bytes *= 4) {
    const int num_calls = static_cast<int>(std::clamp<size_t>((size_t{4} << 20) / bytes, 2, 500));
    std::vector<float> values(bytes / 4), copy(bytes / 4);   // zeros: sums stay finite
    const std::vector<int64_t> borders = EvenBorders(group.size(), bytes);
    std::vector<double> copies, sums, bf16_sums, gathers, their_sums;
    for (int round = 0; round < kRounds; ++round) {
      copies.push_back(Microseconds(group, num_calls, [&] { std::memcpy(copy.data(), values.data(), bytes); }));
      sums.push_back(Microseconds(group, num_calls, [&] { group.AllReduce(values); }));
      bf16_sums.push_back(Microseconds(group, num_calls, [&] { group.AllReduce(values, collectives::Wire::kBf16); }));
      gathers.push_back(Microseconds(group, num_calls, [&] { group.AllGather(std::as_writable_bytes(std::span(values)), borders); }));
      if (theirs) their_sums.push_back(Microseconds(group, num_calls, [&] { theirs(values); }));
    }
    if (group.rank() != 0) continue;
    const double memcpy_time = std::ranges::min(copies), sum = std::ranges::min(sums), bf16 = std::ranges::min(bf16_sums),
                 gather = std::ranges::min(gathers);
    std::printf("| %zu | %.1f | %.1f (%.1f) | %.2f | %.1f | %.1f (%.1f) |", bytes / 1024, memcpy_time, sum, sum / memcpy_time,
                1e-3 * static_cast<double>(bytes) / sum, bf16, gather, gather / memcpy_time);
    if (theirs) std::printf(" %.1f | %.2f |", std::ranges::min(their_sums), sum / std::ranges::min(their_sums));
    std::printf("\n");
    std::fflush(stdout);
  }
}

}  // namespace intaglio::benchmarks
