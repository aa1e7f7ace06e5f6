// A checkpoint: named tensors in mapped files, never copied whole, with the config and tokenizer that came along.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/quantized_rows.h"
#include "base/tensor.h"

namespace intaglio::checkpoint {

// A module of sentence-transformers, as modules.json lists it. Its tensors are among the checkpoint's, as "<path>.<name>".
struct SentenceModule {
  std::string type, path;     // "sentence_transformers.models.Dense", "2_Dense"; an empty path: the checkpoint's own folder
  std::string config_json;    // of the path's folder; "{}" if there is none
};

// Rows [row, row + count) of a tensor seen as a matrix, and of each of them columns [first_k, first_k + num_k).
struct MatrixPart {
  int64_t row = 0, count = 0, first_k = 0, num_k = 0;
};

class Checkpoint {
 public:
  // A directory with config.json and model.safetensors (or model.safetensors.index.json and its shards), or a .gguf file.
  // Throws Error; every header is checked against the file's size before use.
  [[nodiscard]] static std::unique_ptr<Checkpoint> Open(const std::filesystem::path& path);
  // Every file that Open reads of such a path, in an order that follows from their names. Throws Error as Open where weights are missing.
  [[nodiscard]] static std::vector<std::filesystem::path> FilesOf(const std::filesystem::path& path);
  virtual ~Checkpoint() = default;

  // Hugging Face's config.json, as text. GGUF metadata is translated.
  [[nodiscard]] virtual const std::string& config_json() const = 0;
  // Files that go into a bundle as they are: tokenizer.json, tokenizer_config.json, generation_config.json, chat_template.jinja,
  // special_tokens_map.json (those that exist, or that GGUF metadata gives). Name -> contents.
  [[nodiscard]] virtual const std::map<std::string, std::string>& companion_files() const = 0;

  // Empty for a checkpoint that is no embedder.
  [[nodiscard]] virtual const std::vector<SentenceModule>& sentence_modules() const {
    static const std::vector<SentenceModule> none;
    return none;
  }

  // All names, sorted; Hugging Face's names also for GGUF.
  [[nodiscard]] virtual const std::vector<std::string>& tensor_names() const = 0;
  [[nodiscard]] virtual bool has(const std::string& name) const = 0;
  // Throws Error kNotFound, naming the nearest names there are.
  [[nodiscard]] virtual Shape shape(const std::string& name) const = 0;
  // True if elements are stored as bfloat16 and ReadBf16 may be used.
  [[nodiscard]] virtual bool is_bf16(const std::string& name) const = 0;
  // "F32", "BF16", "Q4_K", …: how the file stores it.
  [[nodiscard]] virtual std::string stored_type(const std::string& name) const = 0;
  // Rows [begin, begin + count) of a tensor seen as a matrix [product of all sizes but the last, last size] (a vector is one row), as f32,
  // exactly as the format defines the values. out.size() must be count * last size. Safe from several threads.
  virtual void ReadRows(const std::string& name, int64_t begin, int64_t count, std::span<float> out) const = 0;
  virtual void ReadRowsBf16(const std::string& name, int64_t begin, int64_t count, std::span<uint16_t> out) const = 0;
  // The format of a tensor whose elements share scales; nullopt where each stands alone.
  [[nodiscard]] virtual std::optional<DType> quantized_type(const std::string&) const { return std::nullopt; }
  // Adds rows to those that `rows` has, as they are stored. REQUIRES: quantized_type(name), and the part's columns are whole blocks of it.
  virtual void AppendQuantized(const std::string& name, const MatrixPart& part, QuantizedRows& rows) const;
  // Digest of headers and sizes: what identifies the checkpoint in a manifest.
  [[nodiscard]] virtual std::string digest() const = 0;
};

}  // namespace intaglio::checkpoint
