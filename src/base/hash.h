// Stable 128-bit hash (XXH3) for checksums and cache keys. The value is part of file formats.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>

namespace intaglio {

// 32 lower-case hexadecimal digits.
[[nodiscard]] std::string HashHex(std::span<const std::byte> bytes);
// The same; nullopt where somebody asks to stop before the end.
[[nodiscard]] std::optional<std::string> HashHex(std::span<const std::byte> bytes, const std::stop_token& stop);
// The same of a file's bytes, read through a small buffer: a file of any size leaves no trace in this process's memory. Throws Error kIo, and
// what `on_bytes` throws, which now and then gets the bytes that were read so far.
[[nodiscard]] std::string HashFile(const std::filesystem::path& path, const std::function<void(uint64_t done)>& on_bytes = {});

}  // namespace intaglio
