// The key of a bundle in the compile cache: all that decides its bytes, by name. Two exports of one key make the same bundle.
#pragma once
#include <string>
#include <vector>

#include "intaglio/cache.h"

namespace intaglio::compiler {

// Throws Error as Checkpoint::FilesOf, and whatever options.on_progress throws.
[[nodiscard]] std::vector<CacheField> KeyFields(const ExportOptions& options);
// 32 hexadecimal digits.
[[nodiscard]] std::string KeyOf(const std::vector<CacheField>& fields);

}  // namespace intaglio::compiler
