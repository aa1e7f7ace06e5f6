// Stable 128-bit hash (XXH3) for checksums and cache keys. The value is part of file formats.
#pragma once
#include <cstddef>
#include <span>
#include <string>

namespace intaglio {

// 32 lower-case hexadecimal digits.
[[nodiscard]] std::string HashHex(std::span<const std::byte> bytes);

}  // namespace intaglio
