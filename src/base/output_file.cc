#include "base/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/fail.h"

namespace intaglio {

OutputFile::OutputFile(std::filesystem::path path) : path_(std::move(path)) {
  temporary_path_ = path_;
  temporary_path_ += StrCat(".tmp", getpid());
  fd_ = open(temporary_path_.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0644);
  Require(fd_ >= 0, ErrorCode::kIo, path_.string(), ": cannot write here: ", std::strerror(errno));
}

OutputFile::~OutputFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(temporary_path_.c_str());
}

void OutputFile::Write(std::span<const std::byte> bytes) {
  WriteAt(position_, bytes);
  position_ += bytes.size();
}

void OutputFile::WriteAt(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    const int error = written == 0 ? ENOSPC : errno;
    Require(written > 0, error == ENOSPC ? ErrorCode::kResourceExhausted : ErrorCode::kIo, path_.string(), ": cannot write ", bytes.size(),
            " bytes at offset ", offset, ": ", std::strerror(error));
    offset += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void OutputFile::Commit() {
  const int fd = std::exchange(fd_, -1);
  const bool is_closed = fsync(fd) == 0 && close(fd) == 0;
  if (!is_closed || std::rename(temporary_path_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    unlink(temporary_path_.c_str());
    Fail(error == ENOSPC ? ErrorCode::kResourceExhausted : ErrorCode::kIo, path_.string(), ": cannot finish writing: ", std::strerror(error));
  }
}

}  // namespace intaglio
