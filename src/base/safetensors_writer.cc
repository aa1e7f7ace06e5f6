#include "base/safetensors_writer.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <string_view>
#include <vector>

#include "base/assert.h"
#include "base/fail.h"
#include "base/json_string.h"
#include "base/output_file.h"

namespace intaglio {
namespace {

constexpr size_t kAlignment = 8;

std::string_view TypeName(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kI32:
      return "I32";
    case DType::kU8:
      return "U8";
    case DType::kI8:
      return "I8";
    case DType::kI64:
      return "I64";
    case DType::kF64:
      return "F64";
    case DType::kBool:
      return "BOOL";
    case DType::kI16:
      return "I16";
    default:   // quantised: their groups have no place in the format
      break;
  }
  Assert(false);
}

void Check(const std::filesystem::path& path, std::span<const NamedTensor> tensors) {
  std::set<std::string_view> names;
  for (const auto& [name, tensor] : tensors) {
    Require(name != "__metadata__" && names.insert(name).second, ErrorCode::kInvalidArgument, path.string(), ": cannot write two tensors called '",
            name, "', or one called __metadata__");
    const auto expected = static_cast<size_t>(tensor.shape.num_elements()) * SizeOf(tensor.dtype);
    Require(tensor.bytes.size() == expected, ErrorCode::kInvalidArgument, path.string(), ": tensor '", name, "' of ", tensor.dtype, ' ', tensor.shape,
            " needs ", expected, " bytes, got ", tensor.bytes.size());
  }
}

std::string Header(std::span<const NamedTensor* const> tensors) {
  std::string json = "{";
  size_t offset = 0;
  for (const NamedTensor* entry : tensors) {
    const TensorView& tensor = entry->tensor;
    if (json.size() > 1) json += ',';
    AppendJsonString(json, entry->name);
    json += StrCat(":{\"dtype\":\"", TypeName(tensor.dtype), "\",\"shape\":[", Join(tensor.shape, ","), "],\"data_offsets\":[", offset, ',',
                   offset + tensor.bytes.size(), "]}");
    offset += tensor.bytes.size();
  }
  json += '}';
  json.append((kAlignment - json.size() % kAlignment) % kAlignment, ' ');
  return json;
}

}  // namespace

void WriteSafetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors) {
  Check(path, tensors);
  std::vector<const NamedTensor*> order;
  for (const NamedTensor& entry : tensors) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(),
                   [](const NamedTensor* a, const NamedTensor* b) { return SizeOf(a->tensor.dtype) > SizeOf(b->tensor.dtype); });

  const std::string header = Header(order);
  const uint64_t header_bytes = header.size();
  OutputFile file(path);
  file.Write(std::as_bytes(std::span(&header_bytes, 1)));
  file.Write(header);
  for (const NamedTensor* entry : order) file.Write(entry->tensor.bytes);
  file.Commit();
}

}  // namespace intaglio
