// A directory of our own, removed at the end.
#pragma once
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "base/fail.h"

namespace intaglio::parity {

class TemporaryDirectory {
 public:
  // Under `parent`, by default the system's temporary directory. Throws Error kIo.
  explicit TemporaryDirectory(const std::filesystem::path& parent = std::filesystem::temp_directory_path()) {
    std::string pattern = (parent / "intaglio-compare-XXXXXX").string();
    Require(mkdtemp(pattern.data()) != nullptr, ErrorCode::kIo, pattern, ": cannot create a temporary directory: ", std::strerror(errno));
    path_ = pattern;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace intaglio::parity
