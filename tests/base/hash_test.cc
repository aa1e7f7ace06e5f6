#include "base/hash.h"

#include <gtest/gtest.h>

#include "tests/base/temporary_folder.h"

namespace intaglio {
namespace {

std::string HashOf(std::string_view text) { return HashHex(std::as_bytes(std::span(text))); }

// Bundles hold these digits: https://github.com/Cyan4973/xxHash, XXH3_128bits, seed 0.
TEST(HashHex, IsXxh3Of128Bits) { EXPECT_EQ(HashOf(""), "99aa06d3014798d86001c324468d497f"); }

TEST(HashHex, DependsOnEveryByte) {
  const std::string text(1000, 'x');
  for (size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] = 'y';
    EXPECT_NE(HashOf(changed), HashOf(text)) << i;
  }
}

TEST(HashFile, IsTheHashOfItsBytesWhateverTheSize) {
  const TemporaryFolder folder;
  for (size_t size : {0, 1, 240, 241, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3'000'000}) {
    std::string bytes(size, '\0');
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * i >> 3);
    EXPECT_EQ(HashFile(folder.Write("file", bytes)), HashOf(bytes)) << size;
  }
}

TEST(HashFile, NamesAFileThatCannotBeRead) {
  const TemporaryFolder folder;
  for (const std::filesystem::path& path : {folder.path() / "missing", folder.path()}) {
    EXPECT_NE(MessageOf(ErrorCode::kIo, [&] { (void)HashFile(path); }).find(path.string()), std::string::npos);
  }
}

}  // namespace
}  // namespace intaglio
