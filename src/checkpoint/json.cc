#include "checkpoint/json.h"

#include <cstdio>
#include <unordered_set>
#include <vector>

#include "base/fail.h"

namespace intaglio::checkpoint {
namespace {

// Deeper than any real header or config, shallow enough for every recursive reader after this one.
constexpr int kMaxDepth = 64;

// nlohmann's message without its "[json.exception.…] " tag and without megabytes of quoted input.
std::string Reason(const nlohmann::json::exception& error) {
  std::string_view text = error.what();
  if (const size_t tag_end = text.find("] "); tag_end != std::string_view::npos) text.remove_prefix(tag_end + 2);
  constexpr size_t kMaxReason = 200;
  return text.size() <= kMaxReason ? std::string(text) : StrCat(text.substr(0, kMaxReason), "…");
}

}  // namespace

nlohmann::json ParseJsonObject(std::string_view text, std::string_view where, DuplicateKeys duplicates) {
  std::vector<std::unordered_set<std::string>> keys;  // of each open object
  const auto check = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    using Event = nlohmann::json::parse_event_t;
    Require(depth <= kMaxDepth, ErrorCode::kDataLoss, where, ": JSON nests deeper than ", kMaxDepth, " levels");
    if (duplicates == DuplicateKeys::kLastWins) return true;
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key) {
      const auto& key = value.get_ref<const std::string&>();
      Require(keys.back().insert(key).second, ErrorCode::kDataLoss, where, ": the name ", Quoted(key), " appears twice");
    }
    return true;
  };
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(text, check);
  } catch (const nlohmann::json::exception& error) { Fail(ErrorCode::kDataLoss, where, ": not valid JSON: ", Reason(error)); }
  Require(json.is_object(), ErrorCode::kDataLoss, where, ": expected a JSON object, found JSON of type ", json.type_name());
  return json;
}

std::string Quoted(std::string_view text) {
  constexpr size_t kMaxShown = 120;
  std::string shown = "'";
  for (const char c : text.substr(0, kMaxShown)) {
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) {
      shown += c;
    } else {
      char escaped[5];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", static_cast<unsigned char>(c));
      shown += escaped;
    }
  }
  return shown + (text.size() > kMaxShown ? "…'" : "'");
}

}  // namespace intaglio::checkpoint
