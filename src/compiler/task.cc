#include "compiler/task.h"

#include <algorithm>

#include "base/fail.h"

namespace intaglio::compiler {
namespace {

using checkpoint::Checkpoint;
using checkpoint::HfConfig;

models::EmbedderConfig ReadEmbedder(const HfConfig& config, const Checkpoint& checkpoint, const std::string& where) {
  const std::string list = where + "/modules.json";
  Require(!checkpoint.sentence_modules().empty(), ErrorCode::kNotFound, where, ": to embed, ", config.architecture(),
          " needs the modules.json of sentence-transformers, which says how the rows of a text become one vector; there is none");
  std::vector<models::EmbedderModule> modules;
  for (const checkpoint::SentenceModule& module : checkpoint.sentence_modules()) {
    const std::string file = StrCat(where, '/', module.path, "/config.json");
    modules.push_back({.type = module.type, .path = module.path, .config = HfConfig::Parse(module.config_json, file)});
  }
  return models::ParseEmbedder(modules, config.Int("hidden_size"), list);
}

}  // namespace

std::unique_ptr<models::Model> ParseModelFor(const std::string& task, const HfConfig& config, const Checkpoint& checkpoint,
                                             const std::string& where) {
  Require(task.empty() || task == "embed" || task == "generate", ErrorCode::kInvalidArgument, "export: --task ", task,
          " is not a task; embed and generate are");
  const bool embeds = task == "embed" || (task.empty() && (!checkpoint.sentence_modules().empty() || models::IsHeadless(config)));
  if (!embeds) return models::ParseModel(config);
  const bool has_prefix = std::ranges::any_of(checkpoint.tensor_names(), [](const std::string& name) { return name.starts_with("model."); });
  return models::ParseModel(config, {.embedder = ReadEmbedder(config, checkpoint, where), .has_prefix = has_prefix});
}

}  // namespace intaglio::compiler
