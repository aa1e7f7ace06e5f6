// Typed, range-checked look-ups in one object of a bundle's JSON; errors (kDataLoss) name the file and the path of the field.
#pragma once
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "base/fail.h"
#include "base/strings.h"

namespace intaglio::bundle {

class Fields {
 public:
  using Json = nlohmann::ordered_json;

  Fields(const Json& json, std::string path) : json_(json), path_(std::move(path)) {
    Require(json.is_object(), ErrorCode::kDataLoss, path_, " is not an object");
  }
  [[nodiscard]] const Json& At(const char* key) const {
    const auto it = json_.find(key);
    Require(it != json_.end(), ErrorCode::kDataLoss, path_, ": the field \"", key, "\" is missing");
    return *it;
  }
  template <typename T>
  void Number(const char* key, T& out, int64_t least = 0) const {
    out = ToNumber<T>(At(key), key, least);
  }
  void String(const char* key, std::string& out) const {
    const Json& value = At(key);
    Require(value.is_string(), ErrorCode::kDataLoss, path_, ": \"", key, "\" is not a string");
    out = value.get<std::string>();
  }
  void Bool(const char* key, bool& out) const {
    const Json& value = At(key);
    Require(value.is_boolean(), ErrorCode::kDataLoss, path_, ": \"", key, "\" is not true or false");
    out = value.get<bool>();
  }
  void Type(const char* key, DType& out) const {
    std::string name;
    String(key, name);
    const auto dtype = DTypeFromName(name);
    Require(dtype.has_value(), ErrorCode::kDataLoss, path_, ": \"", key, "\": unknown element type \"", name, '"');
    out = *dtype;
  }
  // JSON has no infinity: null is one.
  void Real(const char* key, double& out) const {
    const Json& value = At(key);
    Require(value.is_number() || value.is_null(), ErrorCode::kDataLoss, path_, ": \"", key, "\" is not a number");
    out = value.is_null() ? std::numeric_limits<double>::infinity() : value.get<double>();
  }
  // A field that bundles without the feature lack: `out` keeps its value.
  template <typename T>
  void OptionalNumber(const char* key, T& out, int64_t least = 0) const {
    if (const auto it = json_.find(key); it != json_.end()) out = ToNumber<T>(*it, key, least);
  }
  void OptionalType(const char* key, DType& out) const {
    if (json_.contains(key)) Type(key, out);
  }
  void OptionalBool(const char* key, bool& out) const {
    if (json_.contains(key)) Bool(key, out);
  }
  template <typename T>
  void Numbers(const char* key, std::vector<T>& out, int64_t least = 0) const {
    for (const Json& item : List(key)) out.push_back(ToNumber<T>(item, key, least));
  }
  [[nodiscard]] const Json& List(const char* key) const {
    const Json& value = At(key);
    Require(value.is_array(), ErrorCode::kDataLoss, path_, ": \"", key, "\" is not a list");
    return value;
  }
  // body(Fields) of each object in a list.
  template <typename Body>
  void ForEach(const char* key, Body body) const {
    size_t index = 0;
    for (const Json& item : List(key)) body(Fields(item, StrCat(path_, ": ", key, '[', index++, ']')));
  }
  [[nodiscard]] Fields Object(const char* key) const { return {At(key), path_ + ": " + key}; }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const Json& json() const { return json_; }

 private:
  template <typename T>
  T ToNumber(const Json& value, const char* key, int64_t least) const {
    Require(value.is_number_integer(), ErrorCode::kDataLoss, path_, ": \"", key, "\" is not an integer");
    const bool is_in_range = value.is_number_unsigned() ? std::in_range<T>(value.get<uint64_t>()) : std::in_range<T>(value.get<int64_t>());
    Require(is_in_range && std::cmp_greater_equal(value.get<T>(), least), ErrorCode::kDataLoss, path_, ": \"", key,
            "\" is out of range: ", value.dump());
    return value.get<T>();
  }
  const Json& json_;
  std::string path_;
};

}  // namespace intaglio::bundle
