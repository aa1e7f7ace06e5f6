// Anonymous memory that is there when it is first touched, or wholly in RAM before on request, in huge pages where the kernel has them.
// That there is enough is checked when it is asked for: what was loaded is not killed for want of memory while it computes. Move-only.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

namespace intaglio::runtime {

class Pages {
 public:
  enum class Size { kHuge, kSmall };   // of a page; small for what is rarely used whole

  Pages() = default;
  // Zeroed. Throws Error kResourceExhausted naming `what` when the machine does not have that much.
  Pages(uint64_t bytes, Size page, std::string_view what);
  Pages(Pages&& other) noexcept;
  Pages& operator=(Pages&& other) noexcept;
  ~Pages();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  // Has every page in RAM now: in parts, after each of which `on_part` gets its bytes, and ends it by false. What is written stays.
  void Prefault(const std::function<bool(size_t bytes)>& on_part) const;

 private:
  void* mapping_ = nullptr;     // what munmap wants; data_ is its first huge-page border
  uint64_t mapping_bytes_ = 0;
  std::byte* data_ = nullptr;
  uint64_t size_ = 0;
};

// Keeps memory that is mapped in RAM until it is unmapped. Throws Error kResourceExhausted naming `what`, the limit there is and how to raise it.
void LockInMemory(std::span<const std::byte> memory, std::string_view what);

}  // namespace intaglio::runtime
