// Reading JSON of unknown origin: depth is bounded, faults name where the text came from. Private to this folder's sources.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace intaglio::checkpoint {

enum class DuplicateKeys {
  kError,      // file headers: a second tensor of the same name is a lie about the first
  kLastWins,   // what Python's json.loads does
};

// Throws Error kDataLoss, starting with `where`, for text that is not a JSON object, or nests too deep.
[[nodiscard]] nlohmann::json ParseJsonObject(std::string_view text, std::string_view where, DuplicateKeys duplicates);

// A string of a file, fit for an error message: quoted, control characters escaped, long ones cut.
[[nodiscard]] std::string Quoted(std::string_view text);

}  // namespace intaglio::checkpoint
