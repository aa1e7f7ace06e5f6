// The error for a tensor that is not there: shows the names that look most like it.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace intaglio::checkpoint {

// Up to three of `names`, most alike first (edit distance).
[[nodiscard]] std::vector<std::string> NearestNames(std::string_view name, const std::vector<std::string>& names);

// Throws Error kNotFound.
[[noreturn]] void FailUnknownTensor(std::string_view where, std::string_view name, const std::vector<std::string>& names);

}  // namespace intaglio::checkpoint
