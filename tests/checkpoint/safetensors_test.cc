#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "base/safetensors_writer.h"
#include "tests/base/temporary_folder.h"

namespace intaglio::checkpoint {
namespace {

// A file of this header and this many bytes of data.
std::string File(const std::string& json, size_t data_bytes, int64_t stated_excess = 0) {
  const uint64_t stated = json.size() + static_cast<uint64_t>(stated_excess);
  std::string file(8, '\0');
  std::memcpy(file.data(), &stated, 8);
  return file + json + std::string(data_bytes, 'x');
}

SafetensorsFile Parse(const std::string& file) { return SafetensorsFile::Parse(std::as_bytes(std::span(file)), "file"); }

std::string Tensor(const std::string& name, const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

TEST(SafetensorsFile, ReadsWhatTheWriterWrote) {
  const TemporaryFolder folder;
  const std::array<float, 6> values{1.5f, -2.0f, 0.0f, 3.0f, 4.0f, 5.0f};
  const std::array<int32_t, 2> ids{7, -8};
  const std::array tensors{NamedTensor{"b", {DType::kF32, {2, 3}, std::as_bytes(std::span(values))}},
                           NamedTensor{"a", {DType::kI32, {2}, std::as_bytes(std::span(ids))}}};
  WriteSafetensors(folder.path() / "f", tensors);
  const SafetensorsFile file = SafetensorsFile::Open(folder.path() / "f");
  EXPECT_EQ(file.names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(file.tensor("b").shape, (Shape{2, 3}));
  EXPECT_EQ(std::memcmp(file.tensor("b").bytes.data(), values.data(), sizeof values), 0);
  EXPECT_EQ(file.tensor("a").dtype, DType::kI32);
  EXPECT_EQ(std::memcmp(file.tensor("a").bytes.data(), ids.data(), sizeof ids), 0);
}

TEST(SafetensorsFile, StaysValidWhenMoved) {
  const TemporaryFolder folder;
  const auto path = folder.Write("f", File("{" + Tensor("a", "U8", "[2]", "[0,2]") + "}", 2));
  SafetensorsFile file = SafetensorsFile::Open(path);
  const SafetensorsFile moved = std::move(file);
  EXPECT_EQ(static_cast<char>(moved.tensor("a").bytes[1]), 'x');
}

TEST(SafetensorsFile, AllowsScalarsEmptyTensorsAndMetadata) {
  const std::string bytes =
      File(R"({"__metadata__":{"format":"pt"},)" + Tensor("s", "F32", "[]", "[0,4]") + "," + Tensor("e", "F32", "[0,5]", "[4,4]") + "}   ", 4);
  const SafetensorsFile file = Parse(bytes);
  EXPECT_EQ(file.tensor("s").bytes.size(), 4u);
  EXPECT_EQ(file.tensor("e").bytes.size(), 0u);
  EXPECT_FALSE(file.has("__metadata__"));
}

TEST(SafetensorsFile, NamesTheNearestTensors) {
  const std::string bytes =
      File("{" + Tensor("model.norm.weight", "U8", "[1]", "[0,1]") + "," + Tensor("lm_head.weight", "U8", "[1]", "[1,2]") + "}", 2);
  const SafetensorsFile file = Parse(bytes);
  const std::string message = MessageOf(ErrorCode::kNotFound, [&] { (void)file.tensor("model.norm.weights"); });
  EXPECT_NE(message.find("'model.norm.weight', 'lm_head.weight'"), std::string::npos) << message;
}

struct BadFile {
  std::string name, bytes, expected;
  ErrorCode code = ErrorCode::kDataLoss;
};
void PrintTo(const BadFile& file, std::ostream* out) { *out << file.name; }

class SafetensorsLies : public testing::TestWithParam<BadFile> {};

TEST_P(SafetensorsLies, AreTold) {
  const std::string message = MessageOf(GetParam().code, [&] { (void)Parse(GetParam().bytes); });
  EXPECT_NE(message.find(GetParam().expected), std::string::npos) << message;
  EXPECT_LT(message.size(), 700u);
}

const std::string kTwo = Tensor("a", "U8", "[2]", "[0,2]");
const BadFile kLies[] = {
    {"Empty", "", "too few"},
    {"ShorterThanItsLength", "abc", "too few"},
    {"HugeHeader", File("{}", 0, int64_t{1} << 40), "the format allows"},
    {"NegativeHeader", File("{}", 0, -3), "the format allows"},
    {"HeaderPastTheEnd", File("{}", 0, 1), "truncated"},
    {"NotJson", File("{\"a\":", 0), "not valid JSON"},
    {"NotAnObject", File("[]", 0), "expected a JSON object"},
    {"InvalidUtf8", File("{\"\xff\":1}", 0), "not valid JSON"},
    {"DuplicateName", File("{" + kTwo + "," + kTwo + "}", 2), "appears twice"},
    {"DuplicateField", File(R"({"a":{"dtype":"U8","dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2), "appears twice"},
    {"DeepNesting", File("{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}", 0), "deeper"},
    {"EntryIsNoObject", File(R"({"a":1})", 0), "must have dtype"},
    {"NoOffsets", File(R"({"a":{"dtype":"U8","shape":[2]}})", 2), "must have dtype"},
    {"UnknownType", File("{" + Tensor("a", "F8_E4M3", "[2]", "[0,2]") + "}", 2), "'F8_E4M3'; supported", ErrorCode::kUnsupported},
    {"NegativeSize", File("{" + Tensor("a", "U8", "[-2]", "[0,2]") + "}", 2), "not an integer of 0 or more"},
    {"FractionalSize", File("{" + Tensor("a", "U8", "[2.0]", "[0,2]") + "}", 2), "not an integer of 0 or more"},
    {"SizeAbove63Bits", File("{" + Tensor("a", "U8", "[18446744073709551615]", "[0,2]") + "}", 2), "not an integer of 0 or more"},
    {"ProductOverflows", File("{" + Tensor("a", "F32", "[4611686018427387904,4]", "[0,0]") + "}", 0), "more bytes than an address"},
    {"ZeroHidesAnOverflow", File("{" + Tensor("a", "F32", "[4611686018427387904,4,0]", "[0,0]") + "}", 0), "more bytes than an address"},
    {"SizeDiffersFromRange", File("{" + Tensor("a", "F32", "[2]", "[0,4]") + "}", 4), "needs 8 bytes, but its data_offsets span 4"},
    {"EndBeforeBegin", File("{" + Tensor("a", "U8", "[2]", "[2,0]") + "}", 2), "before it begins"},
    {"NegativeOffset", File("{" + Tensor("a", "U8", "[2]", "[-2,0]") + "}", 2), "data_offsets [begin, end] of 0 or more"},
    {"EndPastTheFile", File("{" + Tensor("a", "U8", "[3]", "[0,3]") + "}", 2), "truncated"},
    {"Overlap", File("{" + Tensor("a", "U8", "[2]", "[0,2]") + "," + Tensor("b", "U8", "[2]", "[1,3]") + "}", 3), "overlaps"},
    {"Gap", File("{" + Tensor("a", "U8", "[1]", "[0,1]") + "," + Tensor("b", "U8", "[1]", "[2,3]") + "}", 3), "leaves a gap"},
    {"BytesOfNoTensor", File("{" + kTwo + "}", 3), "1 bytes after the last tensor"},
};
INSTANTIATE_TEST_SUITE_P(Each, SafetensorsLies, testing::ValuesIn(kLies), [](const auto& info) { return info.param.name; });

// Whatever is cut off, the rest does not pass for a file.
TEST(SafetensorsFile, RefusesEveryTruncation) {
  const std::string whole = File("{" + Tensor("a", "F32", "[2]", "[0,8]") + "}", 8);
  for (size_t size = 0; size < whole.size(); ++size) {
    MessageOf(ErrorCode::kDataLoss, [&] { (void)Parse(whole.substr(0, size)); });
  }
}

}  // namespace
}  // namespace intaglio::checkpoint
