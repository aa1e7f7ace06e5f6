// The phases of a decoder. A Phase is a value that the caller states; it is never guessed from a shape.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>

namespace intaglio {

// Embedded in bundles: do not renumber.
enum class Phase : uint8_t {
  kContextEncoding = 0,  // chunks of prompts: rows of one or several sequences in, KV out
  kTokenGeneration = 1,  // one row a sequence
  kSpeculation = 2,      // k + 1 rows a sequence, verified at once
};
inline constexpr std::array kPhases{Phase::kContextEncoding, Phase::kTokenGeneration, Phase::kSpeculation};

[[nodiscard]] constexpr std::string_view Name(Phase phase) {
  constexpr std::array<std::string_view, 3> kNames{"context_encoding", "token_generation", "speculation"};
  return kNames[static_cast<size_t>(phase)];
}

}  // namespace intaglio
