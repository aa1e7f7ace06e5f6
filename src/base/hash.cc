#define XXH_INLINE_ALL
#include "base/hash.h"

#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>
#include <vector>

#include "base/fail.h"

namespace intaglio {

namespace {

using State = std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)>;

State NewState() {
  State state(XXH3_createState(), XXH3_freeState);
  XXH3_128bits_reset(state.get());
  return state;
}

std::string Hex(const XXH128_hash_t& hash) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(hash.high64), static_cast<unsigned long long>(hash.low64));
  return text;
}

}  // namespace

std::string HashHex(std::span<const std::byte> bytes) { return Hex(XXH3_128bits(bytes.data(), bytes.size())); }

std::optional<std::string> HashHex(std::span<const std::byte> bytes, const std::stop_token& stop) {
  constexpr size_t kPartBytes = 64 << 20;   // a fraction of a second even from a disk
  const State state = NewState();
  while (!bytes.empty()) {
    if (stop.stop_requested()) return std::nullopt;
    const size_t part = std::min(bytes.size(), kPartBytes);
    XXH3_128bits_update(state.get(), bytes.data(), part);
    bytes = bytes.subspan(part);
  }
  return Hex(XXH3_128bits_digest(state.get()));
}

std::string HashFile(const std::filesystem::path& path, const std::function<void(uint64_t done)>& on_bytes) {
  constexpr size_t kBufferBytes = 1 << 20;
  uint64_t done = 0;
  std::vector<char> buffer(kBufferBytes);
  std::ifstream file(path, std::ios::binary);
  const State state = NewState();
  while (file) {
    file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    XXH3_128bits_update(state.get(), buffer.data(), static_cast<size_t>(file.gcount()));
    done += static_cast<uint64_t>(file.gcount());
    if (on_bytes) on_bytes(done);
  }
  Require(file.eof() && !file.bad(), ErrorCode::kIo, path.string(), ": cannot read it to the end");
  return Hex(XXH3_128bits_digest(state.get()));
}

}  // namespace intaglio
