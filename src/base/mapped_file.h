// A file mapped read-only. Move-only; unmapped on destruction. The bytes are shared with the page cache, never copied.
#pragma once
#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>

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
  // Has the kernel map every page now (and read what is not cached yet), so that later reads do not fault: in parts, after each of which
  // `on_part` gets its bytes, and ends it by false.
  void Prefault(const std::function<bool(size_t bytes)>& on_part = {}) const;
  // Whether the page cache seems to have all of it, by a sample of pages.
  [[nodiscard]] bool is_cached() const noexcept;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace intaglio
