#include "checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "base/assert.h"
#include "base/fail.h"
#include "checkpoint/json.h"
#include "checkpoint/nearest_names.h"

namespace intaglio::checkpoint {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are used as they lie in the file");

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's own limit

constexpr std::array<std::pair<std::string_view, DType>, 10> kTypes{{{"F32", DType::kF32},
                                                                     {"F16", DType::kF16},
                                                                     {"BF16", DType::kBF16},
                                                                     {"I32", DType::kI32},
                                                                     {"U8", DType::kU8},
                                                                     {"I8", DType::kI8},
                                                                     {"I64", DType::kI64},
                                                                     {"F64", DType::kF64},
                                                                     {"BOOL", DType::kBool},
                                                                     {"I16", DType::kI16}}};

// One entry of the header, with a wording for its faults. Offsets count from the end of the header.
struct Entry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  uint64_t begin = 0, end = 0;
};

DType ParseType(const nlohmann::json& value, const std::string& subject) {
  Require(value.is_string(), ErrorCode::kDataLoss, subject, " has a dtype that is not a string");
  const auto& name = value.get_ref<const std::string&>();
  const auto* found = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& type) { return type.first == name; });
  Require(found != kTypes.end(), ErrorCode::kUnsupported, subject, " has dtype ", Quoted(name),
          "; supported are F32, F16, BF16, F64, I64, I32, I16, I8, U8, BOOL");
  return found->second;
}

Shape ParseShape(const nlohmann::json& value, const std::string& subject) {
  constexpr size_t kMaxRank = 16;
  Require(value.is_array() && value.size() <= kMaxRank, ErrorCode::kDataLoss, subject, " has a shape that is not a list of at most ", kMaxRank,
          " sizes");
  Shape shape;
  for (const auto& size : value) {
    Require(size.is_number_unsigned() && size.get<uint64_t>() <= std::numeric_limits<int64_t>::max(), ErrorCode::kDataLoss, subject,
            " has a size in its shape that is not an integer of 0 or more");
    shape.push_back(size.get<int64_t>());
  }
  return shape;
}

uint64_t ByteSize(DType dtype, const Shape& shape, const std::string& subject) {
  uint64_t bytes = SizeOf(dtype);
  bool is_huge = false;
  for (int64_t size : shape) is_huge |= __builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes);
  Require(!is_huge && bytes <= std::numeric_limits<int64_t>::max(), ErrorCode::kDataLoss, subject, " has shape ", shape,
          ": more bytes than an address can name");
  return bytes;
}

Entry ParseEntry(const std::string& name, const nlohmann::json& value, const std::string& where) {
  const std::string subject = StrCat(where, ": tensor ", Quoted(name));
  Require(value.is_object() && value.contains("dtype") && value.contains("shape") && value.contains("data_offsets"), ErrorCode::kDataLoss, subject,
          " must have dtype, shape and data_offsets");
  Entry entry{.name = name, .dtype = ParseType(value["dtype"], subject), .shape = ParseShape(value["shape"], subject)};
  const auto& offsets = value["data_offsets"];
  Require(offsets.is_array() && offsets.size() == 2 && offsets[0].is_number_unsigned() && offsets[1].is_number_unsigned(), ErrorCode::kDataLoss,
          subject, " must have data_offsets [begin, end] of 0 or more");
  entry.begin = offsets[0].get<uint64_t>();
  entry.end = offsets[1].get<uint64_t>();
  Require(entry.begin <= entry.end, ErrorCode::kDataLoss, subject, " ends at ", entry.end, " before it begins at ", entry.begin);
  const uint64_t expected = ByteSize(entry.dtype, entry.shape, subject);
  Require(entry.end - entry.begin == expected, ErrorCode::kDataLoss, subject, " of ", entry.dtype, ' ', entry.shape, " needs ", expected,
          " bytes, but its data_offsets span ", entry.end - entry.begin);
  return entry;
}

// The tensors must tile the data exactly. Sorted by offset on return.
void CheckTiling(std::vector<Entry>& entries, uint64_t data_bytes, const std::string& where) {
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  uint64_t position = 0;
  for (const Entry& entry : entries) {
    const std::string subject = StrCat(where, ": tensor ", Quoted(entry.name));
    Require(entry.end <= data_bytes, ErrorCode::kDataLoss, subject, " ends at byte ", entry.end, " of the data, but the file holds ", data_bytes,
            "; is the file truncated?");
    Require(entry.begin == position, ErrorCode::kDataLoss, subject, " begins at byte ", entry.begin,
            entry.begin < position ? " and overlaps" : " and leaves a gap after", " what ends at byte ", position);
    position = entry.end;
  }
  Require(position == data_bytes, ErrorCode::kDataLoss, where, ": ", data_bytes - position, " bytes after the last tensor belong to none");
}

}  // namespace

SafetensorsFile SafetensorsFile::Open(const std::filesystem::path& path) {
  MappedFile file(path);
  SafetensorsFile result = Parse(file.bytes(), path.string());
  result.file_ = std::move(file);  // the mapping itself does not move
  return result;
}

SafetensorsFile SafetensorsFile::Parse(std::span<const std::byte> bytes, std::string where) {
  Require(bytes.size() >= kLengthBytes, ErrorCode::kDataLoss, where, ": ", bytes.size(), " bytes are too few for a safetensors file");
  uint64_t json_bytes = 0;
  std::memcpy(&json_bytes, bytes.data(), kLengthBytes);
  Require(json_bytes <= kMaxHeaderBytes, ErrorCode::kDataLoss, where, ": states a header of ", json_bytes, " bytes; the format allows ",
          kMaxHeaderBytes, "; is this a safetensors file?");
  Require(json_bytes <= bytes.size() - kLengthBytes, ErrorCode::kDataLoss, where, ": states a header of ", json_bytes, " bytes, but only ",
          bytes.size() - kLengthBytes, " follow; is the file truncated?");
  const auto* text = reinterpret_cast<const char*>(bytes.data() + kLengthBytes);
  const nlohmann::json header = ParseJsonObject({text, static_cast<size_t>(json_bytes)}, where, DuplicateKeys::kError);

  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name != "__metadata__") entries.push_back(ParseEntry(name, value, where));
  }
  const std::span<const std::byte> data = bytes.subspan(kLengthBytes + json_bytes);
  CheckTiling(entries, data.size(), where);

  SafetensorsFile result;
  for (Entry& entry : entries) {
    const auto view = data.subspan(entry.begin, entry.end - entry.begin);
    result.tensors_.emplace(std::move(entry.name), TensorView{.dtype = entry.dtype, .shape = std::move(entry.shape), .bytes = view});
  }
  for (const auto& [name, view] : result.tensors_) result.names_.push_back(name);
  result.where_ = std::move(where);
  result.bytes_ = bytes;
  result.header_ = bytes.first(kLengthBytes + json_bytes);
  return result;
}

const TensorView& SafetensorsFile::tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) FailUnknownTensor(where_, name, names_);
  return found->second;
}

std::string SafetensorsTypeName(DType dtype) {
  const auto* found = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& type) { return type.second == dtype; });
  Assert(found != kTypes.end());
  return std::string(found->first);
}

}  // namespace intaglio::checkpoint
