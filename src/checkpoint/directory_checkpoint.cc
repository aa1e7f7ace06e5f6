#include "checkpoint/directory_checkpoint.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <set>
#include <system_error>
#include <utility>

#include "base/assert.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "checkpoint/json.h"
#include "checkpoint/nearest_names.h"
#include "checkpoint/rows.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/sentence_modules.h"

namespace intaglio::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::array kCompanions{"tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja",
                                 "special_tokens_map.json"};

// What cannot be looked at counts as absent; opening it later says why.
bool Exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

std::string ReadText(const fs::path& path) {
  const MappedFile file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

struct Shards {
  std::vector<SafetensorsFile> files;
  std::map<std::string, const TensorView*> tensors;
};

// Shard names are file names, never paths: an index must not reach outside its folder.
void CheckShardName(const std::string& name, const std::string& where) {
  const bool is_file_name =
      !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
  Require(is_file_name, ErrorCode::kDataLoss, where, ": ", Quoted(name), " is not the name of a shard file in the same folder");
}

// Tensor name -> shard file name.
std::map<std::string, std::string> ReadIndex(const fs::path& path) {
  const std::string where = path.string();
  const nlohmann::json index = ParseJsonObject(ReadText(path), where, DuplicateKeys::kError);
  Require(index.contains("weight_map") && index["weight_map"].is_object(), ErrorCode::kDataLoss, where,
          ": weight_map, the object that maps tensors to shards, is missing");
  std::map<std::string, std::string> shard_of;
  for (const auto& [tensor, shard] : index["weight_map"].items()) {
    Require(shard.is_string(), ErrorCode::kDataLoss, where, ": the shard of ", Quoted(tensor), " is not a string");
    CheckShardName(shard.get_ref<const std::string&>(), where);
    shard_of.emplace(tensor, shard.get<std::string>());
  }
  return shard_of;
}

Shards OpenShards(const fs::path& directory, const fs::path& index_path) {
  const std::map<std::string, std::string> shard_of = ReadIndex(index_path);
  std::set<std::string> shard_names;
  for (const auto& [tensor, shard] : shard_of) shard_names.insert(shard);
  Shards shards;
  shards.files.reserve(shard_names.size());  // views point into the elements
  for (const std::string& shard : shard_names) {
    const fs::path path = directory / shard;
    Require(Exists(path), ErrorCode::kNotFound, index_path.string(), ": the shard ", Quoted(shard), " is not in the folder; download it again");
    const SafetensorsFile& file = shards.files.emplace_back(SafetensorsFile::Open(path));
    for (const std::string& name : file.names()) {
      const auto stated = shard_of.find(name);
      Require(stated != shard_of.end() && stated->second == shard, ErrorCode::kDataLoss, path.string(), ": holds tensor ", Quoted(name), ", which ",
              index_path.filename().string(), stated == shard_of.end() ? " does not list" : StrCat(" places in ", Quoted(stated->second)));
      shards.tensors.emplace(name, &file.tensor(name));
    }
  }
  for (const auto& [tensor, shard] : shard_of) {
    Require(shards.tensors.contains(tensor), ErrorCode::kDataLoss, index_path.string(), ": places tensor ", Quoted(tensor), " in ", Quoted(shard),
            ", which does not hold it");
  }
  return shards;
}

Shards OpenWeights(const fs::path& directory) {
  const fs::path single = directory / "model.safetensors", index = directory / "model.safetensors.index.json";
  if (Exists(index) && !Exists(single)) return OpenShards(directory, index);
  Require(Exists(single), ErrorCode::kNotFound, directory.string(), ": has neither model.safetensors nor model.safetensors.index.json",
          Exists(directory / "pytorch_model.bin") ? "; pytorch_model.bin is not read, convert it to safetensors" : "");
  Shards shards;
  shards.files.push_back(SafetensorsFile::Open(single));
  for (const std::string& name : shards.files.front().names()) shards.tensors.emplace(name, &shards.files.front().tensor(name));
  return shards;
}

class DirectoryCheckpoint final : public Checkpoint {
 public:
  explicit DirectoryCheckpoint(const fs::path& directory) : where_(directory.string()) {
    const fs::path config = directory / "config.json";
    Require(Exists(config), ErrorCode::kNotFound, where_, ": has no config.json; is this a checkpoint folder?");
    config_json_ = ReadText(config);
    for (const char* name : kCompanions) {
      if (Exists(directory / name)) companions_.emplace(name, ReadText(directory / name));
    }
    shards_ = OpenWeights(directory);
    modules_ = ReadSentenceModules(directory);
    for (const SentenceModule& module : modules_) OpenModule(directory, module.path);
    for (const auto& [name, view] : shards_.tensors) names_.push_back(name);
  }

  const std::string& config_json() const override { return config_json_; }
  const std::map<std::string, std::string>& companion_files() const override { return companions_; }
  const std::vector<SentenceModule>& sentence_modules() const override { return modules_; }
  const std::vector<std::string>& tensor_names() const override { return names_; }
  bool has(const std::string& name) const override { return shards_.tensors.contains(name); }
  Shape shape(const std::string& name) const override { return Find(name).shape; }
  bool is_bf16(const std::string& name) const override { return Find(name).dtype == DType::kBF16; }
  std::string stored_type(const std::string& name) const override { return SafetensorsTypeName(Find(name).dtype); }

  void ReadRows(const std::string& name, int64_t begin, int64_t count, std::span<float> out) const override {
    const TensorView& tensor = Find(name);
    Require(IsFloat(tensor.dtype) || tensor.dtype == DType::kU8, ErrorCode::kUnsupported, where_, ": tensor ", Quoted(name), " is stored as ",
            SafetensorsTypeName(tensor.dtype), "; weights may be F32, F16 or BF16, or U8 blocks of MXFP4");
    WidenElements(tensor.dtype, RowBytes(tensor, begin, count, out.size()), out);
  }

  void ReadRowsBf16(const std::string& name, int64_t begin, int64_t count, std::span<uint16_t> out) const override {
    const TensorView& tensor = Find(name);
    Assert(tensor.dtype == DType::kBF16);
    const auto bytes = RowBytes(tensor, begin, count, out.size());
    if (!bytes.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  }

  std::string digest() const override {
    std::string text = config_json_;
    for (const SentenceModule& module : modules_) text += StrCat(module.type, module.path, module.config_json);
    for (const SafetensorsFile& file : shards_.files) text += FileDigest(file.header(), file.bytes());
    for (const SafetensorsFile& file : module_files_) text += FileDigest(file.header(), file.bytes());
    return HashHex(std::as_bytes(std::span(text)));
  }

 private:
  // The weights of a module, if it has any, under names of its own.
  void OpenModule(const fs::path& directory, const std::string& path) {
    const fs::path weights = directory / path / "model.safetensors";
    if (path.empty() || !Exists(weights)) return;
    const SafetensorsFile& file = module_files_.emplace_back(SafetensorsFile::Open(weights));
    for (const std::string& name : file.names()) {
      const bool is_new = shards_.tensors.emplace(StrCat(path, '.', name), &file.tensor(name)).second;
      Require(is_new, ErrorCode::kDataLoss, weights.string(), ": tensor ", Quoted(name), " of module ", Quoted(path), " is there twice");
    }
  }

  const TensorView& Find(const std::string& name) const {
    const auto found = shards_.tensors.find(name);
    if (found == shards_.tensors.end()) FailUnknownTensor(where_, name, names_);
    return *found->second;
  }

  static bool IsFloat(DType dtype) { return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16; }

  std::string where_, config_json_;
  std::map<std::string, std::string> companions_;
  Shards shards_;
  std::vector<SentenceModule> modules_;
  std::deque<SafetensorsFile> module_files_;   // views point into the elements
  std::vector<std::string> names_;
};

}  // namespace

std::vector<fs::path> FilesOfDirectory(const fs::path& directory) {
  const fs::path index = directory / "model.safetensors.index.json", single = directory / "model.safetensors";
  std::set<std::string> names(kCompanions.begin(), kCompanions.end());
  names.insert({"config.json", "modules.json", "model.safetensors"});
  if (Exists(index) && !Exists(single)) {
    names.insert(index.filename().string());
    for (const auto& [tensor, shard] : ReadIndex(index)) names.insert(shard);
  }
  for (const SentenceModule& module : ReadSentenceModules(directory)) {
    if (!module.path.empty()) names.insert({module.path + "/config.json", module.path + "/model.safetensors"});
  }
  std::vector<fs::path> files;
  for (const std::string& name : names) {
    if (Exists(directory / name)) files.push_back(directory / name);
  }
  return files;
}

std::unique_ptr<Checkpoint> OpenDirectory(const fs::path& directory) { return std::make_unique<DirectoryCheckpoint>(directory); }

}  // namespace intaglio::checkpoint
