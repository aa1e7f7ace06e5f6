#include "base/safetensors_writer.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

#include "tests/base/temporary_folder.h"

namespace intaglio {
namespace {

// Header and data of a file, taken apart by another JSON parser than the readers of src/.
struct Parts {
  uint64_t header_bytes = 0;
  nlohmann::json header;
  std::string data;
};
Parts TakeApart(const std::filesystem::path& path) {
  const std::string file = ReadFile(path);
  Parts parts;
  std::memcpy(&parts.header_bytes, file.data(), 8);
  parts.header = nlohmann::json::parse(file.substr(8, parts.header_bytes));
  parts.data = file.substr(8 + parts.header_bytes);
  return parts;
}

template <typename T, size_t n>
NamedTensor Named(std::string name, DType dtype, const std::array<T, n>& values) {
  return {std::move(name), {.dtype = dtype, .shape = {static_cast<int64_t>(n)}, .bytes = std::as_bytes(std::span(values))}};
}

TEST(WriteSafetensors, PutsWideElementsFirstAndAlignsTheData) {
  const TemporaryFolder folder;
  const std::array<uint8_t, 3> narrow{1, 2, 3};
  const std::array<float, 2> wide{0.5f, -2.0f};
  WriteSafetensors(folder.path() / "a", std::array{Named("narrow", DType::kU8, narrow), Named("wide", DType::kF32, wide)});
  const Parts parts = TakeApart(folder.path() / "a");
  EXPECT_EQ(parts.header_bytes % 8, 0u);
  EXPECT_EQ(parts.header["wide"], nlohmann::json::parse(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})"));
  EXPECT_EQ(parts.header["narrow"], nlohmann::json::parse(R"({"dtype":"U8","shape":[3],"data_offsets":[8,11]})"));
  EXPECT_EQ(std::memcmp(parts.data.data(), wide.data(), 8), 0);
  EXPECT_EQ(parts.data.substr(8), "\x01\x02\x03");
}

TEST(WriteSafetensors, EscapesNames) {
  const TemporaryFolder folder;
  const std::array<float, 1> values{1.0f};
  const std::string name = "a\"b\\c\nd\x01 é";
  WriteSafetensors(folder.path() / "a", std::array{Named(name, DType::kF32, values)});
  EXPECT_TRUE(TakeApart(folder.path() / "a").header.contains(name));
}

TEST(WriteSafetensors, WritesNoTensorsAtAll) {
  const TemporaryFolder folder;
  WriteSafetensors(folder.path() / "a", {});
  EXPECT_TRUE(TakeApart(folder.path() / "a").header.empty());
}

TEST(WriteSafetensors, RefusesARepeatedName) {
  const TemporaryFolder folder;
  const std::array<float, 1> values{1.0f};
  const std::array tensors{Named("x", DType::kF32, values), Named("x", DType::kF32, values)};
  MessageOf(ErrorCode::kInvalidArgument, [&] { WriteSafetensors(folder.path() / "a", tensors); });
  EXPECT_EQ(folder.num_files(), 0u);
}

TEST(WriteSafetensors, RefusesBytesThatDoNotFitTheShape) {
  const TemporaryFolder folder;
  const std::array<float, 2> values{};
  NamedTensor tensor = Named("x", DType::kF32, values);
  tensor.tensor.shape = {3};
  const std::string message = MessageOf(ErrorCode::kInvalidArgument, [&] { WriteSafetensors(folder.path() / "a", std::span(&tensor, 1)); });
  EXPECT_NE(message.find("needs 12 bytes, got 8"), std::string::npos) << message;
}

}  // namespace
}  // namespace intaglio
