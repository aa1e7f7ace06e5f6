// What this machine can do at most, measured: the figures that kernels and whole models are a share of. Not for two threads at once.
#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "base/thread_pool.h"

namespace intaglio {

// Memory in huge pages, written once: pages never written all share one page of zeros, which no bandwidth can be measured with.
class ColdMemory {
 public:
  // Throws std::bad_alloc.
  explicit ColdMemory(size_t num_bytes);
  [[nodiscard]] std::span<std::byte> bytes() const { return {data_.get(), num_bytes_}; }

 private:
  struct Unmap {
    size_t num_bytes;
    void operator()(std::byte* data) const;
  };
  size_t num_bytes_;
  std::unique_ptr<std::byte, Unmap> data_;
};

// An operation whose rate has a peak.
struct Peak {
  std::string_view name;
  double operations;           // multiplications and additions of one call
  bool (*is_supported)();
  void (*run)();               // about a millisecond
};
[[nodiscard]] std::span<const Peak> Peaks();
// REQUIRES: name is one of Peaks().
[[nodiscard]] const Peak& FindPeak(std::string_view name);

// Wall time of one call on every thread at once.
[[nodiscard]] double PeakSeconds(ThreadPool& pool, const Peak& peak);
// Wall time of reading `bytes` once, shared by the threads, each walking `streams` neighbouring blocks side by side, as a kernel walks
// packed weights. One stream a thread understates what memory gives by 20 to 30 % (Zen 3).
[[nodiscard]] double ReadSeconds(ThreadPool& pool, std::span<const std::byte> bytes, int streams);

}  // namespace intaglio
