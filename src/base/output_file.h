// Writing a file so that readers see the old one or the whole new one: written beside, flushed, renamed on Commit().
// Without Commit() (an exception, an interrupt) nothing is left behind.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace intaglio {

class OutputFile {
 public:
  // Throws Error kIo naming the path and the reason (no such directory, no permission, disk full …), like every method here.
  explicit OutputFile(std::filesystem::path path);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  void Write(std::span<const std::byte> bytes);
  void Write(std::string_view text) { Write(std::as_bytes(std::span(text))); }
  // Bytes at an absolute offset; the file grows as needed. Safe from several threads at once for disjoint ranges.
  void WriteAt(uint64_t offset, std::span<const std::byte> bytes);
  void Commit();

 private:
  std::filesystem::path path_, temporary_path_;
  int fd_ = -1;
  uint64_t position_ = 0;
};

}  // namespace intaglio
