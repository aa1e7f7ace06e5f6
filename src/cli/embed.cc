// intaglio embed: texts (or ids) in, a vector each out.
#include "intaglio/embed.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "base/strings.h"
#include "cli/commands.h"
#include "cli/model.h"
#include "cli/thread_options.h"

namespace intaglio::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  intaglio embed qwen3-embedding.bundle --text "What is a KV cache?" "Bananas are yellow."
  intaglio embed bert.bundle --file lines.txt --json

A line of numbers a text, or one JSON object. Models that want an instruction or a title before a text get it as part of the text.
The same text gives the same numbers on every machine, with any number of threads, and whatever else is embedded beside it.)";

struct EmbedOptions {
  std::filesystem::path bundle, file;
  std::vector<std::string> texts;
  std::vector<int32_t> input_ids;
  bool is_json = false;
  EngineOptions engine;
};

std::vector<std::string> ReadLines(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  Require(in.good(), ErrorCode::kNotFound, path.string(), ": cannot be read");
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    if (line.ends_with('\r')) line.pop_back();
    lines.push_back(std::move(line));
  }
  return lines;
}

struct Embedded {
  std::vector<std::string> texts;             // empty: ids were given
  std::vector<std::vector<int32_t>> ids;
  std::vector<std::vector<float>> vectors;
};

nlohmann::ordered_json ToJson(const ModelInfo& info, const Embedded& embedded) {
  nlohmann::ordered_json json{{"model", info.source}, {"dim", info.embedding_dim}, {"embeddings", nlohmann::ordered_json::array()}};
  for (size_t i = 0; i < embedded.ids.size(); ++i) {
    nlohmann::ordered_json entry{{"text", nullptr}, {"input_ids", embedded.ids[i]}, {"embedding", nlohmann::ordered_json::array()}};
    if (!embedded.texts.empty()) entry["text"] = embedded.texts[i];
    for (float value : embedded.vectors[i]) entry["embedding"].push_back(ExactAsDouble(value));
    json["embeddings"].push_back(std::move(entry));
  }
  return json;
}

void Print(const std::vector<float>& vector) {
  std::string line;
  for (float value : vector) {
    if (!line.empty()) line += ' ';
    line += Exact(value);
  }
  std::puts(line.c_str());
}

int RunEmbed(const EmbedOptions& options) {
  Embedded embedded{.texts = options.file.empty() ? options.texts : ReadLines(options.file), .ids = {}, .vectors = {}};
  const Model model = LoadModel(options.bundle, options.engine);
  for (const std::string& text : embedded.texts) embedded.ids.push_back(model.RequireTokenizer().Encode(text, /*add_special_tokens=*/true));
  if (!options.input_ids.empty()) embedded.ids = {options.input_ids};
  embedded.vectors = Embed(*model.engine, embedded.ids);
  if (options.is_json) {
    std::puts(ToJson(model.engine->info(), embedded).dump(2, ' ', /*ensure_ascii=*/false, nlohmann::ordered_json::error_handler_t::replace).c_str());
  } else {
    for (const std::vector<float>& vector : embedded.vectors) Print(vector);
  }
  return 0;
}

}  // namespace

void AddEmbedCommand(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("embed", "Turn texts into vectors, with a bundle of an embedder");
  command->footer(kFooter);
  const auto options = std::make_shared<EmbedOptions>();  // lives as long as the parser's callbacks
  command->add_option("BUNDLE", options->bundle, "Bundle directory, made by intaglio export")->required();
  CLI::Option_group* inputs = command->add_option_group("input", "One of");
  inputs->add_option("-t,--text", options->texts, "Texts to embed");
  inputs->add_option("-f,--file", options->file, "A file with one text a line");
  inputs->add_option("--input-ids", options->input_ids, "Token ids of one text, e.g. 1,2,3, special ones included; needs no tokenizer")
      ->delimiter(',');
  inputs->require_option(1);
  command->add_flag("--json", options->is_json, "Print one JSON object: model, dim, and text, input_ids, embedding of each");
  AddThreadOptions(command, options->engine);
  AddWireOption(command, options->engine);
  AddStartOptions(command, options->engine);
  command->add_flag("--allow-failed-parity", options->engine.allow_failed_parity, "Load a bundle that failed the parity gate of its export");
  command->callback([options, &chosen] { chosen = [options] { return RunEmbed(*options); }; });
}

}  // namespace intaglio::cli
