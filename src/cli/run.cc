// intaglio run: text (or ids) in, text out.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/safetensors_writer.h"
#include "cli/chat.h"
#include "cli/commands.h"
#include "cli/model.h"
#include "cli/statistics.h"
#include "cli/terminal.h"
#include "cli/thread_options.h"

namespace intaglio::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  intaglio run gemma.bundle -p "The capital of France is"
  intaglio run gemma.bundle -p "Once upon a time" --temperature 0.8 --top-p 0.95 --seed 7 --max-tokens 200
  intaglio run llama.bundle --chat
  intaglio run llama.bundle --input-ids 1,306,763 --json --logits logits.safetensors
  mpirun -n 4 intaglio run llama-tp4.bundle --chat                            a bundle of export --tp 4, a process a rank
  mpirun -n 4 --hostfile hosts intaglio run llama-tp4.bundle --chat           hosts: lines such as "node1 slots=2"; same paths on all

The same bundle, prompt and options give the same tokens on every machine and with any number of threads.
Text goes to stdout, statistics to stderr.)";

struct RunOptions {
  std::filesystem::path bundle, logits;
  std::string prompt;
  std::vector<int32_t> input_ids;
  bool is_chat = false, is_json = false, ignores_eos = false;
  EngineOptions engine;
  GenerateRequest request;
};

void SaveLogits(const std::filesystem::path& path, const GenerateResult& result, int64_t vocab_size) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(result.logits));
  const NamedTensor tensor{.name = "logits",
                           .tensor = {.dtype = DType::kF32, .shape = {std::ssize(result.logits) / vocab_size, vocab_size}, .bytes = bytes}};
  WriteSafetensors(path, {&tensor, 1});
}

nlohmann::ordered_json ToJson(const GenerateRequest& request, const GenerateResult& result, const std::optional<std::string>& text,
                              const Statistics& s) {
  nlohmann::ordered_json json{{"prompt_ids", request.prompt}, {"ids", result.ids}, {"text", nullptr}, {"finish_reason", result.finish_reason}};
  if (text) json["text"] = *text;
  json["timings"] = {{"load_s", s.load_seconds},
                     {"prefill_s", s.prefill_seconds},
                     {"decode_s", s.decode_seconds},
                     {"prefill_tokens_per_s", s.prefill_tokens_per_second()},
                     {"decode_tokens_per_s", s.decode_tokens_per_second()}};
  json["memory"] = {{"planned_bytes", s.planned_bytes}, {"rss_bytes", RssBytes()}, {"peak_rss_bytes", PeakRssBytes()}};
  for (const std::vector<TokenLogprob>& step : result.top_logprobs) {
    nlohmann::ordered_json top = nlohmann::ordered_json::array();
    for (const TokenLogprob& token : step) top.push_back({{"id", token.id}, {"logprob", token.logprob}});
    json["top_logprobs"].push_back(std::move(top));
  }
  return json;
}

int RunOnce(Model& model, const RunOptions& options, GenerateRequest request) {
  request.prompt = options.input_ids.empty() ? model.RequireTokenizer().Encode(options.prompt, /*add_special_tokens=*/true) : options.input_ids;
  request.all_logits = !options.logits.empty();
  const InterruptGuard interrupt;
  std::optional<std::string> text;
  if (model.tokenizer) text.emplace();
  const auto emit = [&](std::string_view piece) {
    *text += piece;
    if (options.is_json) return;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  const GenerateResult result = Stream(model, request, emit, interrupt);
  const Statistics statistics = MakeStatistics(*model.engine, request, result, model.load_seconds);
  if (options.is_json) {
    std::puts(ToJson(request, result, text, statistics).dump(2, ' ', /*ensure_ascii=*/false).c_str());
  } else if (text) {
    std::puts("");
  } else {
    for (size_t i = 0; i < result.ids.size(); ++i) std::printf("%s%d", i == 0 ? "" : ",", result.ids[i]);
    std::puts("");
  }
  std::fflush(stdout);
  if (!options.logits.empty()) SaveLogits(options.logits, result, model.engine->info().vocab_size);
  PrintNote(ToString(statistics));
  return interrupt.is_interrupted() ? interrupt.exit_code() : 0;
}

int Run(const RunOptions& options) {
  const SamplingParams& sampling = options.request.sampling;
  if (sampling.temperature == 0 && (sampling.top_k != 0 || sampling.top_p != 1 || sampling.min_p != 0 || sampling.seed != 0)) {
    PrintNote("note: without --temperature the most likely token is taken; --top-k, --top-p, --min-p and --seed have no effect");
  }
  Model model = LoadModel(options.bundle, options.engine);
  GenerateRequest request = options.request;
  if (!options.ignores_eos) request.stop_ids = model.engine->info().eos_ids;
  return options.is_chat ? RunChat(model, request) : RunOnce(model, options, request);
}

void AddSamplingOptions(CLI::App* command, SamplingParams& sampling) {
  command
      ->add_option("--temperature", sampling.temperature, "Draw from the distribution at this temperature; 0 (default): take the most likely token")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--top-k", sampling.top_k, "Draw from the K most likely tokens; 0 (default): all")->check(CLI::NonNegativeNumber);
  command->add_option("--top-p", sampling.top_p, "Draw from the most likely tokens that hold this probability; 1 (default): all")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--min-p", sampling.min_p, "Leave out tokens less likely than this share of the likeliest; 0 (default): none")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--repetition-penalty", sampling.repetition_penalty, "Above 1: make tokens of prompt and answer less likely; 1 (default): off")
      ->check(CLI::PositiveNumber);
  command->add_option("--presence-penalty", sampling.presence_penalty, "Subtract from the logits of tokens in the answer; 0 (default): off");
  command->add_option("--frequency-penalty", sampling.frequency_penalty, "The same, for each time a token occurs; 0 (default): off");
  command->add_option("--seed", sampling.seed, "Which draws; the same seed gives the same text (default 0)");
}

}  // namespace

void AddRunCommand(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("run", "Generate text from a bundle");
  command->footer(kFooter);
  const auto options = std::make_shared<RunOptions>();  // lives as long as the parser's callbacks
  command->add_option("BUNDLE", options->bundle, "Bundle directory, made by intaglio export")->required();
  CLI::Option_group* inputs = command->add_option_group("input", "One of");
  inputs->add_option("-p,--prompt", options->prompt, "Text to continue");
  CLI::Option* chat = inputs->add_flag("--chat", options->is_chat, "Talk: each line of stdin is a message");
  inputs->add_option("--input-ids", options->input_ids, "Token ids to continue, e.g. 1,2,3; needs no tokenizer")->delimiter(',');
  inputs->require_option(1);
  command->add_option("--max-tokens", options->request.max_tokens, "Tokens to generate at most (default 128)")->check(CLI::NonNegativeNumber);
  command->add_flag("--ignore-eos", options->ignores_eos, "Go on after an end-of-sequence token");
  AddSamplingOptions(command, options->request.sampling);
  AddThreadOptions(command, options->engine);
  AddWireOption(command, options->engine);
  AddStartOptions(command, options->engine);
  command->add_flag("--allow-failed-parity", options->engine.allow_failed_parity, "Run a bundle that export --validate found wrong");
  CLI::Option* json =
      command->add_flag("--json", options->is_json, "Print one JSON object: prompt_ids, ids, text, finish_reason, timings, memory")->excludes(chat);
  command->add_option("--logprobs", options->request.sampling.num_logprobs, "With --json: the N most likely tokens of each step, at most 20")
      ->check(CLI::Range(1, 20))
      ->needs(json);
  command->add_option("--logits", options->logits, "Save f32 logits [rows, vocabulary]: row i is what follows token i")->excludes(chat);
  command->callback([options, &chosen] { chosen = [options] { return Run(*options); }; });
}

}  // namespace intaglio::cli
