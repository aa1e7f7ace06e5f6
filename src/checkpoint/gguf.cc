#include "checkpoint/gguf.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "base/fail.h"
#include "base/strings.h"
#include "checkpoint/json.h"

namespace intaglio::checkpoint {
namespace {

constexpr std::array<uint8_t, 13> kTypeBytes{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};  // by Type; 0: of variable size
constexpr uint64_t kMaxNameBytes = 65535, kMaxRank = 4, kDefaultAlignment = 32, kMaxAlignment = 1 << 20;

template <typename T>
T Load(std::span<const std::byte> bytes, uint64_t index = 0) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

}  // namespace

// Reads front to back; every length is compared with what is left before it is used.
class GgufFile::Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  void ParseInto(GgufFile& file) {
    CheckMagic();
    const auto num_tensors = Number<uint64_t>("the number of tensors");
    const auto num_values = Number<uint64_t>("the number of metadata entries");
    constexpr uint64_t kLeastValueBytes = 8 + 4 + 1, kLeastTensorBytes = 8 + 4 + 4 + 8;
    CheckCount(num_values, kLeastValueBytes, "metadata entries");
    for (uint64_t i = 0; i < num_values; ++i) ParseValue(file);
    CheckCount(num_tensors, kLeastTensorBytes, "tensors");
    std::vector<Description> tensors;
    for (uint64_t i = 0; i < num_tensors; ++i) tensors.push_back(ParseDescription());
    const uint64_t alignment = Alignment(file);
    Take((alignment - position_ % alignment) % alignment * (num_tensors > 0 ? 1 : 0), "the padding before the tensors");
    file.header_ = bytes_.first(position_);
    for (Description& tensor : tensors) Place(file, std::move(tensor), alignment);
  }

 private:
  struct Description {
    std::string name;
    GgmlTypeInfo type{};
    Shape shape;
    uint64_t bytes = 0, offset = 0;  // offset: from the first tensor
  };

  std::span<const std::byte> Take(uint64_t count, std::string_view what) {
    Require(count <= bytes_.size() - position_, ErrorCode::kDataLoss, where_, ": ", what, " needs ", count, " bytes at offset ", position_,
            ", but the file has ", bytes_.size() - position_, " more; is it truncated?");
    const auto taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }

  template <typename T>
  T Number(std::string_view what) {
    return Load<T>(Take(sizeof(T), what));
  }

  std::string_view Text(std::string_view what) {
    const auto bytes = Take(Number<uint64_t>(what), what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  void CheckCount(uint64_t count, uint64_t least_bytes, std::string_view what) const {
    Require(count <= (bytes_.size() - position_) / least_bytes, ErrorCode::kDataLoss, where_, ": states ", count, ' ', what,
            ", more than the file's ", bytes_.size(), " bytes can hold");
  }

  void CheckMagic() {
    constexpr std::string_view kMagic = "GGUF";
    const bool has_magic = bytes_.size() >= 8 && std::memcmp(bytes_.data(), kMagic.data(), kMagic.size()) == 0;
    Require(has_magic, ErrorCode::kDataLoss, where_, ": not a GGUF file (it must begin with the letters GGUF and a version)");
    position_ = kMagic.size();
    const auto version = Number<uint32_t>("the version");
    Require(version >> 16 == 0, ErrorCode::kUnsupported, where_, ": a big-endian GGUF file; only little-endian files are read");
    Require(version == 2 || version == 3, ErrorCode::kUnsupported, where_, ": GGUF version ", version, "; supported are 2 and 3");
  }

  std::string Name(std::string_view what) {
    const std::string_view name = Text(what);
    Require(!name.empty() && name.size() <= kMaxNameBytes, ErrorCode::kDataLoss, where_, ": ", what, " is ", name.size(),
            " bytes long; expected 1 to ", kMaxNameBytes);
    return std::string(name);
  }

  void ParseValue(GgufFile& file) {
    std::string key = Name("a metadata key");
    Value value;
    value.type = ParseType(key);
    if (value.type == Type::kArray) {
      value.is_array = true;
      value.type = ParseType(key);
      Require(value.type != Type::kArray, ErrorCode::kUnsupported, where_, ": metadata ", Quoted(key), " is an array of arrays");
      value.count = Number<uint64_t>("an array's length");
    }
    const uint64_t element_bytes = kTypeBytes[static_cast<size_t>(value.type)];
    const uint64_t least_bytes = element_bytes != 0 ? element_bytes : 8;
    CheckCount(value.count, least_bytes, StrCat("elements in metadata ", Quoted(key)));
    const size_t begin = position_;
    if (element_bytes != 0) {
      Take(value.count * element_bytes, "a metadata value");
    } else {
      for (uint64_t i = 0; i < value.count; ++i) Text("a metadata string");
    }
    value.bytes = bytes_.subspan(begin, position_ - begin);
    const auto [entry, is_new] = file.values_.emplace(std::move(key), value);
    Require(is_new, ErrorCode::kDataLoss, where_, ": metadata ", Quoted(entry->first), " appears twice");
  }

  Type ParseType(const std::string& key) {
    const auto type = Number<uint32_t>("a metadata type");
    Require(type < kTypeBytes.size(), ErrorCode::kDataLoss, where_, ": metadata ", Quoted(key), " has type ", type,
            ", which the format does not define");
    return static_cast<Type>(type);
  }

  Description ParseDescription() {
    Description tensor;
    tensor.name = Name("a tensor name");
    const std::string subject = StrCat(where_, ": tensor ", Quoted(tensor.name));
    const auto rank = Number<uint32_t>("a tensor's rank");
    Require(rank <= kMaxRank, ErrorCode::kDataLoss, subject, " has ", rank, " dimensions; the format allows ", kMaxRank);
    uint64_t num_elements = 1;
    bool is_huge = false;
    for (uint32_t i = 0; i < rank; ++i) {
      const auto size = Number<uint64_t>("a tensor's shape");
      is_huge |= __builtin_mul_overflow(num_elements, size, &num_elements) || size > std::numeric_limits<int64_t>::max();
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(size));
    }
    const auto type = Number<uint32_t>("a tensor's type");
    const std::optional<GgmlTypeInfo> info = FindGgmlType(type);
    Require(info.has_value(), ErrorCode::kUnsupported, subject, " is stored as ", GgmlTypeName(type), " (type ", type,
            "); supported are F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K and Q6_K");
    tensor.type = *info;
    const uint64_t row = tensor.shape.empty() ? 1 : static_cast<uint64_t>(tensor.shape.back());
    Require(row % info->block_elements == 0, ErrorCode::kDataLoss, subject, " has rows of ", row, " elements, no multiple of the ",
            info->block_elements, " in a block of ", info->name);
    is_huge |= __builtin_mul_overflow(num_elements / info->block_elements, uint64_t{info->block_bytes}, &tensor.bytes);
    Require(!is_huge && num_elements <= std::numeric_limits<int64_t>::max(), ErrorCode::kDataLoss, subject,
            " has more elements than an address can name");
    tensor.offset = Number<uint64_t>("a tensor's offset");
    return tensor;
  }

  uint64_t Alignment(const GgufFile& file) const {
    const auto alignment = static_cast<uint64_t>(file.Int("general.alignment").value_or(kDefaultAlignment));
    Require(std::has_single_bit(alignment) && alignment <= kMaxAlignment, ErrorCode::kDataLoss, where_, ": general.alignment is ", alignment,
            "; expected a power of two up to ", kMaxAlignment);
    return alignment;
  }

  // Tensors must follow each other with nothing but padding between, in the order of their descriptions, as llama.cpp demands.
  void Place(GgufFile& file, Description tensor, uint64_t alignment) {
    const std::string subject = StrCat(where_, ": tensor ", Quoted(tensor.name));
    const uint64_t expected = (data_end_ + alignment - 1) / alignment * alignment;
    Require(tensor.offset == expected, ErrorCode::kDataLoss, subject, " begins at byte ", tensor.offset, " of the data; expected ", expected,
            ", right after the tensor before it");
    const auto data = bytes_.subspan(position_);
    Require(tensor.offset <= data.size() && tensor.bytes <= data.size() - tensor.offset, ErrorCode::kDataLoss, subject, " needs ", tensor.bytes,
            " bytes at byte ", tensor.offset, " of the data, but the file holds ", data.size(), "; is it truncated?");
    data_end_ = tensor.offset + tensor.bytes;
    const GgufTensor view{.type = tensor.type.type, .shape = std::move(tensor.shape), .bytes = data.subspan(tensor.offset, tensor.bytes)};
    const bool is_new = file.tensors_.emplace(std::move(tensor.name), view).second;
    Require(is_new, ErrorCode::kDataLoss, subject, " appears twice");
  }

  std::span<const std::byte> bytes_;
  const std::string& where_;
  size_t position_ = 0;
  uint64_t data_end_ = 0;  // of the tensors placed so far
};

GgufFile GgufFile::Open(const std::filesystem::path& path) {
  MappedFile file(path);
  GgufFile result = Parse(file.bytes(), path.string());
  result.file_ = std::move(file);  // the mapping itself does not move
  return result;
}

GgufFile GgufFile::Parse(std::span<const std::byte> bytes, std::string where) {
  static_assert(std::endian::native == std::endian::little, "values are used as they lie in the file");
  GgufFile file;
  file.where_ = std::move(where);
  file.bytes_ = bytes;
  Parser(bytes, file.where_).ParseInto(file);
  return file;
}

bool GgufFile::is_array(std::string_view key) const {
  const auto found = values_.find(key);
  return found != values_.end() && found->second.is_array;
}

const GgufFile::Value* GgufFile::Find(std::string_view key, bool is_array) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return nullptr;
  if (found->second.is_array != is_array) FailType(key, is_array ? "an array" : "a single value");
  return &found->second;
}

void GgufFile::FailType(std::string_view key, std::string_view expected) const {
  Fail(ErrorCode::kDataLoss, where_, ": metadata ", Quoted(key), " is not ", expected);
}

int64_t GgufFile::IntAt(std::string_view key, const Value& value, uint64_t index) const {
  switch (value.type) {
    case Type::kU8:
      return Load<uint8_t>(value.bytes, index);
    case Type::kI8:
      return Load<int8_t>(value.bytes, index);
    case Type::kU16:
      return Load<uint16_t>(value.bytes, index);
    case Type::kI16:
      return Load<int16_t>(value.bytes, index);
    case Type::kU32:
      return Load<uint32_t>(value.bytes, index);
    case Type::kI32:
      return Load<int32_t>(value.bytes, index);
    case Type::kI64:
      return Load<int64_t>(value.bytes, index);
    case Type::kU64: {
      const auto number = Load<uint64_t>(value.bytes, index);
      if (number > std::numeric_limits<int64_t>::max()) FailType(key, "an integer of at most 63 bits");
      return static_cast<int64_t>(number);
    }
    default:
      FailType(key, "an integer");
  }
}

std::optional<int64_t> GgufFile::Int(std::string_view key) const {
  const Value* value = Find(key, /*is_array=*/false);
  return value == nullptr ? std::nullopt : std::optional(IntAt(key, *value, 0));
}

std::optional<double> GgufFile::Float(std::string_view key) const {
  const Value* value = Find(key, /*is_array=*/false);
  if (value == nullptr) return std::nullopt;
  double number = 0;
  if (value->type == Type::kF32) {
    number = ExactAsDouble(Load<float>(value->bytes));
  } else if (value->type == Type::kF64) {
    number = Load<double>(value->bytes);
  } else {
    FailType(key, "a floating-point number");
  }
  if (!std::isfinite(number)) FailType(key, "a finite number");
  return number;
}

std::optional<bool> GgufFile::Bool(std::string_view key) const {
  const Value* value = Find(key, /*is_array=*/false);
  if (value == nullptr) return std::nullopt;
  if (value->type != Type::kBool) FailType(key, "true or false");
  return Load<uint8_t>(value->bytes) != 0;
}

std::optional<std::string_view> GgufFile::String(std::string_view key) const {
  const Value* value = Find(key, /*is_array=*/false);
  if (value == nullptr) return std::nullopt;
  if (value->type != Type::kString) FailType(key, "a string");
  const auto text = value->bytes.subspan(8);
  return std::string_view(reinterpret_cast<const char*>(text.data()), text.size());
}

std::optional<std::vector<std::string_view>> GgufFile::Strings(std::string_view key) const {
  const Value* value = Find(key, /*is_array=*/true);
  if (value == nullptr) return std::nullopt;
  if (value->type != Type::kString) FailType(key, "an array of strings");
  std::vector<std::string_view> strings;
  strings.reserve(value->count);
  auto rest = value->bytes;
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto size = Load<uint64_t>(rest);
    strings.emplace_back(reinterpret_cast<const char*>(rest.data() + 8), size);
    rest = rest.subspan(8 + size);
  }
  return strings;
}

std::optional<std::vector<float>> GgufFile::Floats(std::string_view key) const {
  const Value* value = Find(key, /*is_array=*/true);
  if (value == nullptr) return std::nullopt;
  if (value->type != Type::kF32) FailType(key, "an array of f32");
  std::vector<float> numbers(value->count);
  if (!numbers.empty()) std::memcpy(numbers.data(), value->bytes.data(), value->bytes.size());
  return numbers;
}

std::optional<std::vector<int64_t>> GgufFile::Ints(std::string_view key) const {
  const Value* value = Find(key, /*is_array=*/true);
  if (value == nullptr) return std::nullopt;
  std::vector<int64_t> numbers;
  numbers.reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    numbers.push_back(value->type == Type::kBool ? static_cast<int64_t>(Load<uint8_t>(value->bytes, i) != 0) : IntAt(key, *value, i));
  }
  return numbers;
}

std::string GgufFile::architecture() const {
  const auto name = String("general.architecture");
  Require(name.has_value(), ErrorCode::kDataLoss, where_, ": metadata general.architecture is missing");
  return std::string(*name);
}

}  // namespace intaglio::checkpoint
