// Anonymous memory that is wholly in RAM from the start, in huge pages where the kernel has them: a memory plan that was printed is a
// memory plan that is held, and no step meets a page fault. Move-only.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace intaglio::runtime {

class Pages {
 public:
  enum class Fill { kNow, kOnUse };  // kOnUse: ordinary lazy memory, for what is rarely used whole

  Pages() = default;
  // Zeroed. Throws Error kResourceExhausted naming `what` when the machine does not have that much.
  Pages(uint64_t bytes, Fill fill, std::string_view what);
  Pages(Pages&& other) noexcept;
  Pages& operator=(Pages&& other) noexcept;
  ~Pages();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] uint64_t size() const noexcept { return size_; }

 private:
  void* mapping_ = nullptr;     // what munmap wants; data_ is its first huge-page border
  uint64_t mapping_bytes_ = 0;
  std::byte* data_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace intaglio::runtime
