#include "text/tokenizer.h"

#include <cstring>

#include "base/mapped_file.h"
#include "text/tokenizer_impl.h"

namespace intaglio::text {
namespace {

std::string_view View(const MappedFile& file) { return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}; }

MappedFile OpenIfPresent(const std::filesystem::path& path) { return std::filesystem::exists(path) ? MappedFile(path) : MappedFile(); }

struct TokenizerFiles {
  std::string_view tokenizer_json, config, special_tokens_map;
};

rust::Tokenizer* NewHandle(const TokenizerFiles& files, std::string_view where) {
  rust::Tokenizer* handle = nullptr;
  rust::Buffer result;
  rust::Check(rust::intaglio_tokenizer_new(files.tokenizer_json, files.config, files.special_tokens_map, &handle, result.out()), result, where);
  return handle;
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::Load(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "tokenizer.json";
  Require(std::filesystem::exists(path), ErrorCode::kNotFound, folder.string(),
          " has no tokenizer.json; only models with a Hugging Face fast tokenizer are supported");
  const MappedFile tokenizer_json(path);
  const MappedFile config = OpenIfPresent(folder / "tokenizer_config.json");
  const MappedFile special_tokens_map = OpenIfPresent(folder / "special_tokens_map.json");
  return Tokenizer(std::make_unique<Impl>(NewHandle({View(tokenizer_json), View(config), View(special_tokens_map)}, folder.string())));
}

Tokenizer Tokenizer::FromJson(std::string_view tokenizer_json) {
  return Tokenizer(std::make_unique<Impl>(NewHandle({.tokenizer_json = tokenizer_json, .config = {}, .special_tokens_map = {}}, {})));
}

std::vector<int32_t> Tokenizer::Encode(std::string_view text, bool add_special_tokens) const {
  rust::Buffer result;
  rust::Check(rust::intaglio_tokenizer_encode(impl_->handle, text, add_special_tokens, result.out()), result);
  std::vector<int32_t> ids(result.view().size() / sizeof(int32_t));
  if (!ids.empty()) std::memcpy(ids.data(), result.view().data(), result.view().size());
  return ids;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  rust::Buffer result;
  rust::Check(rust::intaglio_tokenizer_decode(impl_->handle, ids.data(), ids.size(), skip_special_tokens, result.out()), result);
  return std::string(result.view());
}

int64_t Tokenizer::vocab_size() const { return static_cast<int64_t>(rust::intaglio_tokenizer_vocab_size(impl_->handle)); }

}  // namespace intaglio::text
