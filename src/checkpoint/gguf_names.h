// GGUF's tensor names -> Hugging Face's, with what llama.cpp's converter did to the values and we undo.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace intaglio::checkpoint {

// What to do to a stored tensor to get Hugging Face's values.
enum class GgufTransform {
  kNone,
  kUnpermuteQuery,  // rows of each head were reordered for interleaved rotary pairs: (pair, half) back to (half, pair)
  kUnpermuteKey,    // the same, with the number of key-value heads
  kMinusOne,        // norm weights of Gemma are stored as 1 + w
};

struct GgufRename {
  std::string name;  // empty: a tensor without counterpart, which the config covers (rope_freqs.weight)
  GgufTransform transform = GgufTransform::kNone;
};

// Architectures of GGUF files that can be read: "gemma3", "llama", …
[[nodiscard]] std::vector<std::string> KnownGgufArchitectures();

// Throws Error kUnsupported, beginning with `where`, for an unknown architecture (lists the known ones) or a tensor that it does not have.
[[nodiscard]] GgufRename RenameGgufTensor(std::string_view architecture, std::string_view name, std::string_view where);

}  // namespace intaglio::checkpoint
