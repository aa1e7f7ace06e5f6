#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/fail.h"

namespace intaglio {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(const std::filesystem::path& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ >= 0) return;
    const int error = errno;
    Fail(error == ENOENT || error == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kIo, path.string(),
         ": cannot open for reading: ", std::strerror(error));
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() { close(fd_); }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  const FileDescriptor file(path);
  struct stat info{};
  Require(fstat(file.get(), &info) == 0, ErrorCode::kIo, path.string(), ": cannot read its size: ", std::strerror(errno));
  Require(S_ISREG(info.st_mode), ErrorCode::kInvalidArgument, path.string(), ": not a regular file");
  if (info.st_size == 0) return;
  void* data = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_SHARED, file.get(), 0);
  Require(data != MAP_FAILED, ErrorCode::kIo, path.string(), ": cannot map ", info.st_size, " bytes: ", std::strerror(errno));
  data_ = static_cast<const std::byte*>(data);
  size_ = static_cast<size_t>(info.st_size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::Prefault(const std::stop_token& stop) const noexcept {
  constexpr size_t kPartBytes = 64 << 20;   // a fraction of a second even from a disk
  auto* data = const_cast<std::byte*>(data_);
  for (size_t begin = 0; begin < size_ && !stop.stop_requested(); begin += kPartBytes) {
    const size_t bytes = std::min(kPartBytes, size_ - begin);
#ifdef MADV_POPULATE_READ
    if (madvise(data + begin, bytes, MADV_POPULATE_READ) == 0) continue;
#endif
    madvise(data + begin, bytes, MADV_WILLNEED);
  }
}

}  // namespace intaglio
