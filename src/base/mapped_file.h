// A file mapped read-only. Move-only; unmapped on destruction. The bytes are shared with the page cache, never copied.
#pragma once
#include <cstddef>
#include <filesystem>
#include <span>
#include <stop_token>

namespace intaglio {

class MappedFile {
 public:
  MappedFile() = default;
  // Throws Error (kNotFound, kIo) naming the path. An empty file gives empty bytes.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  // Asks the kernel to map every page now (and read what is not cached yet), so that later reads do not fault; to the end, or until somebody
  // asks to stop.
  void Prefault(const std::stop_token& stop = {}) const noexcept;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace intaglio
