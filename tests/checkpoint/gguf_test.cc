#include "checkpoint/gguf.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/base/temporary_folder.h"
#include "tests/checkpoint/gguf_bytes.h"

namespace intaglio::checkpoint {
namespace {

TEST(GgufFile, ReadsEveryTypeOfMetadata) {
  const auto integer = [](const char* key, uint32_t type, auto value) { return Text(key) + Raw(type) + Raw(value); };
  const std::string bytes =
      GgufBytes({integer("u8", 0, uint8_t{200}), integer("i8", 1, int8_t{-3}), integer("u16", 2, uint16_t{60000}), integer("i16", 3, int16_t{-300}),
                 U32("u32", 4000000000u), integer("i32", 5, int32_t{-70000}), F32("f32", 1e-6f), Bool("bool", true), String("string", "text"),
                 integer("u64", 10, uint64_t{1} << 40), integer("i64", 11, int64_t{-1} << 40), integer("f64", 12, 0.1),
                 Strings("strings", {"a", "", "bc"}), Floats("floats", {1.5f, -2.0f}), Ints("ints", {-1, 2}), Array<uint8_t>("bools", 7, {1, 0})});
  const GgufFile file = ParseGguf(bytes);
  EXPECT_EQ(file.Int("u8"), 200);
  EXPECT_EQ(file.Int("i8"), -3);
  EXPECT_EQ(file.Int("u16"), 60000);
  EXPECT_EQ(file.Int("i16"), -300);
  EXPECT_EQ(file.Int("u32"), 4000000000);
  EXPECT_EQ(file.Int("i32"), -70000);
  EXPECT_EQ(file.Float("f32"), 1e-6);  // not 9.999999974752427e-07
  EXPECT_EQ(file.Bool("bool"), true);
  EXPECT_EQ(file.String("string"), "text");
  EXPECT_EQ(file.Int("u64"), int64_t{1} << 40);
  EXPECT_EQ(file.Int("i64"), int64_t{-1} << 40);
  EXPECT_EQ(file.Float("f64"), 0.1);
  EXPECT_EQ(file.Strings("strings"), (std::vector<std::string_view>{"a", "", "bc"}));
  EXPECT_EQ(file.Floats("floats"), (std::vector<float>{1.5f, -2.0f}));
  EXPECT_EQ(file.Ints("ints"), (std::vector<int64_t>{-1, 2}));
  EXPECT_EQ(file.Ints("bools"), (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(file.Int("absent"), std::nullopt);
  EXPECT_TRUE(file.is_array("ints"));
  EXPECT_FALSE(file.is_array("u8"));
}

TEST(GgufFile, NamesMetadataOfAnotherType) {
  const std::string bytes = GgufBytes({String("s", "text"), U32("n", 1), F32("nan", std::numeric_limits<float>::quiet_NaN()), Ints("list", {1}),
                                       Strings("words", {"a"}), Text("big") + Raw<uint32_t>(10) + Raw(~uint64_t{0})});
  const GgufFile file = ParseGguf(bytes);
  EXPECT_EQ(MessageOf(ErrorCode::kDataLoss, [&] { (void)file.Int("s"); }), "file: metadata 's' is not an integer");
  MessageOf(ErrorCode::kDataLoss, [&] { (void)file.Int("big"); });
  MessageOf(ErrorCode::kDataLoss, [&] { (void)file.Int("list"); });
  MessageOf(ErrorCode::kDataLoss, [&] { (void)file.Ints("n"); });
  MessageOf(ErrorCode::kDataLoss, [&] { (void)file.Ints("words"); });
  MessageOf(ErrorCode::kDataLoss, [&] { (void)file.Floats("list"); });
  MessageOf(ErrorCode::kDataLoss, [&] { (void)file.Strings("list"); });
  MessageOf(ErrorCode::kDataLoss, [&] { (void)file.Float("nan"); });
  MessageOf(ErrorCode::kDataLoss, [&] { (void)file.Float("n"); });
  MessageOf(ErrorCode::kDataLoss, [&] { (void)file.Bool("n"); });
  MessageOf(ErrorCode::kDataLoss, [&] { (void)file.String("n"); });
  MessageOf(ErrorCode::kDataLoss, [&] { (void)file.architecture(); });
}

TEST(GgufFile, ReadsTensorsWithSizesOutermostFirst) {
  const std::string bytes = GgufBytes({}, {Describe("a", {5, 1}, 0, 0), Describe("b", {64, 3}, 8, 32)}, 32 + 6 * 34);
  const GgufFile file = ParseGguf(bytes);
  EXPECT_EQ(file.tensors().at("a").shape, (Shape{1, 5}));
  EXPECT_EQ(file.tensors().at("a").bytes.size(), 20u);
  EXPECT_EQ(file.tensors().at("b").shape, (Shape{3, 64}));
  EXPECT_EQ(file.tensors().at("b").type, GgmlType::kQ8_0);
  EXPECT_EQ(file.tensors().at("b").bytes.size(), 204u);
}

TEST(GgufFile, ReadsVersion2) { EXPECT_EQ(ParseGguf(GgufBytes({}, {}, 0, 2)).tensors().size(), 0u); }

TEST(GgufFile, HonoursItsAlignment) {
  const std::string head = "GGUF" + Raw<uint32_t>(3) + Raw<uint64_t>(1) + Raw<uint64_t>(1) + U32("general.alignment", 64) + Describe("a", {2}, 0, 0);
  const std::string bytes = head + std::string((64 - head.size() % 64) % 64, '\0') + "12345678";
  EXPECT_EQ(static_cast<char>(ParseGguf(bytes).tensors().at("a").bytes[0]), '1');
}

struct BadFile {
  std::string name, bytes, expected;
  ErrorCode code = ErrorCode::kDataLoss;
};
void PrintTo(const BadFile& file, std::ostream* out) { *out << file.name; }

class GgufLies : public testing::TestWithParam<BadFile> {};

TEST_P(GgufLies, AreTold) {
  const std::string message = MessageOf(GetParam().code, [&] { (void)ParseGguf(GetParam().bytes); });
  EXPECT_NE(message.find(GetParam().expected), std::string::npos) << message;
  EXPECT_LT(message.size(), 700u);
}

std::string Counts(uint64_t num_tensors, uint64_t num_values, const std::string& rest = {}) {
  return "GGUF" + Raw<uint32_t>(3) + Raw(num_tensors) + Raw(num_values) + rest;
}

constexpr uint64_t kHuge = ~uint64_t{0};
const BadFile kLies[] = {
    {"Empty", "", "not a GGUF file"},
    {"OtherMagic", "GGML" + Raw<uint32_t>(3), "not a GGUF file"},
    {"Version1", GgufBytes({}, {}, 0, 1), "version 1; supported are 2 and 3", ErrorCode::kUnsupported},
    {"BigEndian", GgufBytes({}, {}, 0, 3u << 24), "big-endian", ErrorCode::kUnsupported},
    {"HugeNumberOfTensors", Counts(kHuge, 0), "more than the file's"},
    {"HugeNumberOfValues", Counts(0, kHuge), "more than the file's"},
    {"HugeKey", Counts(0, 1, Raw(kHuge) + std::string(20, 'k')), "truncated"},
    {"EmptyKey", Counts(0, 1, Text("") + std::string(20, '\0')), "expected 1 to"},
    {"UnknownMetadataType", GgufBytes({Text("k") + Raw<uint32_t>(13) + std::string(8, '\0')}), "type 13, which the format does not define"},
    {"ArrayOfArrays", GgufBytes({Text("k") + Raw<uint32_t>(9) + Raw<uint32_t>(9) + std::string(8, '\0')}), "array of arrays",
     ErrorCode::kUnsupported},
    {"HugeArray", GgufBytes({Text("k") + Raw<uint32_t>(9) + Raw<uint32_t>(4) + Raw(kHuge / 4 + 1)}), "elements in metadata 'k', more than"},
    {"HugeArrayOfStrings", GgufBytes({Text("k") + Raw<uint32_t>(9) + Raw<uint32_t>(8) + Raw(kHuge)}), "elements in metadata 'k', more than"},
    {"HugeString", GgufBytes({Text("k") + Raw<uint32_t>(8) + Raw(kHuge)}), "truncated"},
    {"DuplicateKey", GgufBytes({U32("k", 1), U32("k", 2)}), "appears twice"},
    {"TooManyDimensions", GgufBytes({}, {Describe("a", {1, 1, 1, 1, 1}, 0, 0)}, 32), "5 dimensions; the format allows 4"},
    {"HugeShape", GgufBytes({}, {Describe("a", {uint64_t{1} << 32, uint64_t{1} << 32}, 0, 0)}, 32), "more elements than an address"},
    {"SizeAbove63Bits", GgufBytes({}, {Describe("a", {kHuge}, 0, 0)}, 32), "more elements than an address"},
    {"ZeroHidesAHugeSize", GgufBytes({}, {Describe("a", {0, kHuge}, 0, 0)}, 32), "more elements than an address"},
    {"ImportanceQuantised", GgufBytes({}, {Describe("a", {256}, 23, 0)}, 256), "stored as IQ4_XS (type 23); supported", ErrorCode::kUnsupported},
    {"UnknownTensorType", GgufBytes({}, {Describe("a", {256}, 1000, 0)}, 256), "stored as unknown (type 1000)", ErrorCode::kUnsupported},
    {"RowsOfPartBlocks", GgufBytes({}, {Describe("a", {48, 2}, 8, 0)}, 256), "no multiple of the 32 in a block of Q8_0"},
    {"TensorPastTheFile", GgufBytes({}, {Describe("a", {8}, 0, 0)}, 31), "needs 32 bytes at byte 0 of the data, but the file holds 31"},
    {"NoPaddingBeforeTheData", Counts(1, 0, Describe("a", {0}, 0, 0)), "truncated"},
    {"Overlap", GgufBytes({}, {Describe("a", {8}, 0, 0), Describe("b", {8}, 0, 0)}, 64), "begins at byte 0 of the data; expected 32"},
    {"Gap", GgufBytes({}, {Describe("a", {8}, 0, 0), Describe("b", {8}, 0, 64)}, 96), "begins at byte 64 of the data; expected 32"},
    {"HugeOffset", GgufBytes({}, {Describe("a", {8}, 0, kHuge - 31)}, 64), "expected 0"},
    {"DuplicateTensor", GgufBytes({}, {Describe("a", {8}, 0, 0), Describe("a", {8}, 0, 32)}, 64), "appears twice"},
    {"AlignmentZero", GgufBytes({U32("general.alignment", 0)}), "expected a power of two"},
    {"OddAlignment", GgufBytes({U32("general.alignment", 24)}), "expected a power of two"},
    {"HugeAlignment", GgufBytes({U32("general.alignment", 1u << 31)}), "expected a power of two"},
};
INSTANTIATE_TEST_SUITE_P(Each, GgufLies, testing::ValuesIn(kLies), [](const auto& info) { return info.param.name; });

TEST(GgufFile, RefusesEveryTruncation) {
  const std::string whole = GgufBytes({String("k", "text"), Strings("s", {"a", "b"})}, {Describe("a", {8}, 0, 0)}, 32);
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string part = whole.substr(0, size);
    MessageOf(ErrorCode::kDataLoss, [&] { (void)ParseGguf(part); });
  }
}

}  // namespace
}  // namespace intaglio::checkpoint
