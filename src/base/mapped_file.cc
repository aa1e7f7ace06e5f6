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

constexpr size_t kPageBytes = 4096;

// Kernels before 5.14 do not know MADV_POPULATE_READ: there a read of each page does the same.
void MapPages(std::span<const std::byte> bytes) {
#ifdef MADV_POPULATE_READ
  if (madvise(const_cast<std::byte*>(bytes.data()), bytes.size(), MADV_POPULATE_READ) == 0) return;
#endif
  for (size_t offset = 0; offset < bytes.size(); offset += kPageBytes) (void)const_cast<const volatile std::byte*>(bytes.data())[offset];
}

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

void MappedFile::Prefault(const std::function<bool(size_t bytes)>& on_part) const {
  constexpr size_t kPartBytes = 64 << 20;   // a fraction of a second even from a disk
  for (size_t begin = 0; begin < size_; begin += kPartBytes) {
    const auto part = bytes().subspan(begin, std::min(kPartBytes, size_ - begin));
    MapPages(part);
    if (on_part && !on_part(part.size())) return;
  }
}

bool MappedFile::is_cached() const noexcept {
  constexpr size_t kSamples = 64;
  for (size_t i = 0; i < kSamples && size_ > 0; ++i) {
    const size_t page = (size_ - 1) / kSamples * i / kPageBytes * kPageBytes;
    unsigned char is_resident = 1;
    if (mincore(const_cast<std::byte*>(data_) + page, 1, &is_resident) == 0 && (is_resident & 1) == 0) return false;
  }
  return true;
}

}  // namespace intaglio
