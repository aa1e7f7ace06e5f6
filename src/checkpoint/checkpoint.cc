#include "checkpoint/checkpoint.h"

#include <stdexcept>
#include <system_error>

#include "base/fail.h"
#include "checkpoint/directory_checkpoint.h"
#include "checkpoint/gguf_checkpoint.h"

namespace intaglio::checkpoint {

std::unique_ptr<Checkpoint> Checkpoint::Open(const std::filesystem::path& path) {
  std::error_code ignored;
  Require(std::filesystem::exists(path, ignored), ErrorCode::kNotFound, path.string(), ": no such file or folder");
  if (std::filesystem::is_directory(path, ignored)) return OpenDirectory(path);
  Require(path.extension() == ".gguf", ErrorCode::kInvalidArgument, path.string(), ": expected a checkpoint folder or a .gguf file");
  return OpenGguf(GgufFile::Open(path));
}

void Checkpoint::AppendQuantized(const std::string& name, const MatrixPart&, QuantizedRows&) const {
  throw std::logic_error(StrCat("the checkpoint's tensor ", name, " is not quantised"));
}

std::vector<std::filesystem::path> Checkpoint::FilesOf(const std::filesystem::path& path) {
  std::error_code ignored;
  Require(std::filesystem::exists(path, ignored), ErrorCode::kNotFound, path.string(), ": no such file or folder");
  return std::filesystem::is_directory(path, ignored) ? FilesOfDirectory(path) : std::vector{path};
}

}  // namespace intaglio::checkpoint
