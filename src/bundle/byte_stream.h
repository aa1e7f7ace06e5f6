// Little-endian writing, and reading that never leaves its span: what plan.bin is made of.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/fail.h"

namespace intaglio::bundle {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they lie in memory");

class ByteWriter {
 public:
  template <typename T>
    requires std::is_arithmetic_v<T>
  void Put(T value) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof value);
  }
  void PutString(const std::string& text) {
    Put(static_cast<uint32_t>(text.size()));
    const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
    bytes_.insert(bytes_.end(), bytes, bytes + text.size());
  }
  [[nodiscard]] std::vector<std::byte>& bytes() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

class ByteReader {
 public:
  // `where` names the file in errors.
  ByteReader(std::span<const std::byte> bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  template <typename T>
    requires std::is_arithmetic_v<T>
  T Get() {
    T value;
    std::memcpy(&value, Take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string GetString() {
    const auto bytes = Take(Get<uint32_t>());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // A count of items that take at least `least_bytes` each, so a lying count fails here and never allocates.
  size_t GetCount(size_t least_bytes) {
    const size_t count = Get<uint32_t>();
    Require(count <= (bytes_.size() - position_) / least_bytes, ErrorCode::kDataLoss, where_, ": offset ", position_, ": a list of ", count,
            " items does not fit in the ", bytes_.size() - position_, " bytes that are left");
    return count;
  }
  void ExpectEnd() const {
    Require(position_ == bytes_.size(), ErrorCode::kDataLoss, where_, ": ", bytes_.size() - position_, " bytes follow its last plan");
  }
  [[nodiscard]] const std::string& where() const { return where_; }

 private:
  std::span<const std::byte> Take(size_t size) {
    Require(size <= bytes_.size() - position_, ErrorCode::kDataLoss, where_, ": truncated: ", size, " bytes wanted at offset ", position_, ", ",
            bytes_.size() - position_, " are left");
    position_ += size;
    return bytes_.subspan(position_ - size, size);
  }

  std::span<const std::byte> bytes_;
  const std::string& where_;
  size_t position_ = 0;
};

}  // namespace intaglio::bundle
