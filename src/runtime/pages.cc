#include "runtime/pages.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <utility>

#include "base/fail.h"

namespace intaglio::runtime {
namespace {

constexpr uint64_t kPageBytes = 4096, kHugePageBytes = 2u << 20;

// What this process can still get without swapping or being killed: of the machine, and of its control group.
uint64_t AvailableBytes() {
  uint64_t available = std::numeric_limits<uint64_t>::max();
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    if (line.starts_with("MemAvailable:")) available = std::stoull(line.substr(13)) * 1024;
  }
  std::ifstream limit("/sys/fs/cgroup/memory.max");  // "max" where there is none: then nothing is read
  uint64_t limit_bytes = 0;
  if (limit >> limit_bytes) available = std::min(available, limit_bytes);
  return available;
}

// Kernels before 5.14 do not know MADV_POPULATE_WRITE: there a write to each page does the same.
void Populate(std::byte* data, uint64_t bytes) {
#ifdef MADV_POPULATE_WRITE
  if (madvise(data, bytes, MADV_POPULATE_WRITE) == 0) return;
#endif
  for (uint64_t offset = 0; offset < bytes; offset += kPageBytes) {
    auto* byte = const_cast<volatile std::byte*>(data + offset);
    *byte = *byte;
  }
}

std::string LimitOfLocked() {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return "any number of";
  return StrCat(limit.rlim_cur);
}

}  // namespace

Pages::Pages(uint64_t bytes, Size page, std::string_view what) : size_(bytes) {
  if (bytes == 0) return;
  const uint64_t available = AvailableBytes();
  Require(bytes <= available, ErrorCode::kResourceExhausted, what, " needs ", bytes, " bytes, but only ", available,
          " are available: export with a smaller --max-context or --max-batch");
  mapping_bytes_ = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes + kHugePageBytes;
  mapping_ = mmap(nullptr, mapping_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping_ == MAP_FAILED) {
    mapping_ = nullptr;
    Fail(ErrorCode::kResourceExhausted, what, " needs ", bytes, " bytes, which the system refuses: ", std::strerror(errno));
  }
  const size_t past_page = reinterpret_cast<uintptr_t>(mapping_) % kHugePageBytes;
  data_ = static_cast<std::byte*>(mapping_) + (past_page == 0 ? 0 : kHugePageBytes - past_page);
  if (page == Size::kHuge) madvise(data_, bytes, MADV_HUGEPAGE);  // a hint: without huge pages only speed is lost
}

void Pages::Prefault(const std::function<bool(size_t bytes)>& on_part) const {
  constexpr uint64_t kPartBytes = 64 << 20;
  for (uint64_t begin = 0; begin < size_; begin += kPartBytes) {
    const uint64_t part = std::min(kPartBytes, size_ - begin);
    Populate(data_ + begin, part);
    if (!on_part(part)) return;
  }
}

Pages::Pages(Pages&& other) noexcept { *this = std::move(other); }

Pages& Pages::operator=(Pages&& other) noexcept {
  std::swap(mapping_, other.mapping_);
  std::swap(mapping_bytes_, other.mapping_bytes_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Pages::~Pages() {
  if (mapping_ != nullptr) munmap(mapping_, mapping_bytes_);
}

void LockInMemory(std::span<const std::byte> memory, std::string_view what) {
  if (memory.empty() || mlock(memory.data(), memory.size()) == 0) return;
  const int error = errno;
  Fail(ErrorCode::kResourceExhausted, "--mlock: cannot lock ", what, " in memory, ", memory.size(), " bytes (", std::strerror(error),
       "): this process may lock ", LimitOfLocked(),
       " bytes (ulimit -l); raise that limit (ulimit -l unlimited, memlock of "
       "/etc/security/limits.conf, LimitMEMLOCK= of systemd, --ulimit memlock=-1 of docker), or leave --mlock out");
}

}  // namespace intaglio::runtime
