// GGUF metadata -> the tokenizer files of a Hugging Face folder.
#pragma once
#include <map>
#include <string>

#include "checkpoint/gguf.h"

namespace intaglio::checkpoint {

// tokenizer.json, tokenizer_config.json and generation_config.json: name -> contents. Nothing if the file carries no tokenizer.
// Throws Error kUnsupported for tokenizers of another kind than SentencePiece-style or byte-level BPE, and for unknown pre-tokenizers;
// kDataLoss for contradictory metadata.
[[nodiscard]] std::map<std::string, std::string> GgufTokenizerFiles(const GgufFile& file);

}  // namespace intaglio::checkpoint
