#include "checkpoint/gguf_tokenizer.h"

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "base/fail.h"
#include "base/json_string.h"
#include "checkpoint/gguf_vocabulary.h"
#include "checkpoint/json.h"

namespace intaglio::checkpoint {
namespace {

using nlohmann::json;

constexpr std::string_view kSpaceMark = "\u2581";  // SentencePiece's visible space

// What varies between the tokenizers of tokenizer.json.
struct Pipeline {
  json normalizer, pre_tokenizer, decoder;  // null for none
  std::string_view model;                   // settings of the BPE model, as JSON members
  bool adds_bos = false;
};

// A pre-tokenizer of byte-level BPE by llama.cpp's name for it (convert_hf_to_gguf.py, get_vocab_base_pre).
struct PreTokenizer {
  std::span<const std::string_view> names;
  std::string_view regex;  // empty: GPT-2's own, which is part of the ByteLevel step
  bool splits_digits = false, normalizes_nfc = false, ignores_merges = false, adds_bos = false;
};

constexpr std::string_view kGpt2Names[] = {"default", "gpt-2", "gpt2"};
constexpr std::string_view kLlama3Names[] = {"llama-bpe", "llama3", "llama-v3"};
constexpr std::string_view kQwen2Names[] = {"qwen2", "deepseek-r1-qwen"};
constexpr std::string_view kSmolLmNames[] = {"smollm"};
constexpr std::string_view kTekkenNames[] = {"tekken"};
constexpr std::string_view kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekkenRegex =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr PreTokenizer kPreTokenizers[] = {
    {.names = kGpt2Names, .regex = {}},
    {.names = kLlama3Names, .regex = kLlama3Regex, .ignores_merges = true, .adds_bos = true},
    {.names = kQwen2Names, .regex = kQwen2Regex, .normalizes_nfc = true},
    {.names = kSmolLmNames, .regex = {}, .splits_digits = true},
    {.names = kTekkenNames, .regex = kTekkenRegex, .ignores_merges = true, .adds_bos = true},
};

const PreTokenizer& FindPreTokenizer(const GgufFile& file) {
  const std::string_view name = file.String("tokenizer.ggml.pre").value_or("default");
  std::vector<std::string_view> known;
  for (const PreTokenizer& entry : kPreTokenizers) {
    if (std::find(entry.names.begin(), entry.names.end(), name) != entry.names.end()) return entry;
    known.insert(known.end(), entry.names.begin(), entry.names.end());
  }
  Fail(ErrorCode::kUnsupported, file.where(), ": tokenizer.ggml.pre is ", Quoted(name), ", a pre-tokenizer not known here; known are ", Join(known),
       "; export from the Hugging Face checkpoint instead");
}

json ByteLevel(bool use_regex) { return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}}; }

Pipeline ByteLevelPipeline(const GgufFile& file) {
  const PreTokenizer& pre = FindPreTokenizer(file);
  json steps = json::array();
  if (pre.splits_digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  if (!pre.regex.empty()) steps.push_back({{"type", "Split"}, {"pattern", {{"Regex", pre.regex}}}, {"behavior", "Isolated"}, {"invert", false}});
  steps.push_back(ByteLevel(pre.regex.empty()));
  return {.normalizer = pre.normalizes_nfc ? json{{"type", "NFC"}} : json(nullptr),
          .pre_tokenizer = {{"type", "Sequence"}, {"pretokenizers", steps}},
          .decoder = ByteLevel(true),
          .model = pre.ignores_merges ? R"("fuse_unk":false,"byte_fallback":false,"ignore_merges":true)"
                                      : R"("fuse_unk":false,"byte_fallback":false,"ignore_merges":false)",
          .adds_bos = file.Bool("tokenizer.ggml.add_bos_token").value_or(pre.adds_bos)};
}

// With a space put before the text (Llama, Mistral) or without one (Gemma, whose spaces are replaced before anything else).
Pipeline SentencePiecePipeline(const GgufFile& file, bool is_gemma) {
  const bool adds_space = file.Bool("tokenizer.ggml.add_space_prefix").value_or(!is_gemma);
  json decoders = {{{"type", "Replace"}, {"pattern", {{"String", kSpaceMark}}}, {"content", " "}}, {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
  if (adds_space) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  Pipeline pipeline{
      .normalizer = nullptr,
      .pre_tokenizer = {{"type", "Metaspace"}, {"replacement", kSpaceMark}, {"prepend_scheme", adds_space ? "first" : "never"}, {"split", false}},
      .decoder = {{"type", "Sequence"}, {"decoders", decoders}},
      .model = R"("fuse_unk":true,"byte_fallback":true,"ignore_merges":false)",
      .adds_bos = file.Bool("tokenizer.ggml.add_bos_token").value_or(true)};
  if (is_gemma && !adds_space) {
    pipeline.normalizer = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpaceMark}};
    pipeline.pre_tokenizer = {{"type", "Split"}, {"pattern", {{"String", " "}}}, {"behavior", "MergedWithPrevious"}, {"invert", false}};
  }
  return pipeline;
}

// Puts the beginning and end tokens around one text or each of two.
json Template(const GgufFile& file, const Vocabulary& vocabulary, bool adds_bos) {
  const bool adds_eos = file.Bool("tokenizer.ggml.add_eos_token").value_or(false);
  json special_tokens = json::object();
  const auto special = [&](std::optional<int32_t> id, int type_id) {
    const std::string& token = vocabulary.tokens[static_cast<size_t>(*id)];
    special_tokens[token] = {{"id", token}, {"ids", json::array({*id})}, {"tokens", json::array({token})}};
    return json{{"SpecialToken", {{"id", token}, {"type_id", type_id}}}};
  };
  const auto around = [&](json& steps, const char* sequence, int type_id) {
    if (adds_bos && vocabulary.bos.has_value()) steps.push_back(special(vocabulary.bos, type_id));
    steps.push_back({{"Sequence", {{"id", sequence}, {"type_id", type_id}}}});
    if (adds_eos && vocabulary.eos.has_value()) steps.push_back(special(vocabulary.eos, type_id));
  };
  json single = json::array(), pair = json::array();
  around(single, "A", 0);
  around(pair, "A", 0);
  around(pair, "B", 1);
  if (special_tokens.empty()) return nullptr;
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special_tokens}};
}

bool IsAdded(TokenKind kind) { return kind == TokenKind::kControl || kind == TokenKind::kUserDefined || kind == TokenKind::kUnknown; }

json AddedTokens(const Vocabulary& vocabulary) {
  json added = json::array();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (!IsAdded(vocabulary.kinds[id]) || vocabulary.tokens[id].empty()) continue;
    added.push_back({{"id", id},
                     {"content", vocabulary.tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", vocabulary.kinds[id] != TokenKind::kUserDefined}});
  }
  return added;
}

// The vocabulary and merges, written straight to text: a quarter of a million tokens make half a million merges.
std::string ModelJson(const Vocabulary& vocabulary, const std::vector<Merge>& merges, std::string_view settings) {
  std::string text = R"({"type":"BPE","dropout":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"unk_token":)";
  if (vocabulary.unknown.has_value() && vocabulary.kinds[static_cast<size_t>(*vocabulary.unknown)] != TokenKind::kNormal) {
    AppendJsonString(text, vocabulary.tokens[static_cast<size_t>(*vocabulary.unknown)]);
  } else {
    text += "null";
  }
  text.append(",").append(settings).append(",\"vocab\":{");
  const char* separator = "";
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (vocabulary.kinds[id] == TokenKind::kUnused) continue;
    AppendJsonString(text.append(separator), vocabulary.tokens[id]);
    text.append(":").append(std::to_string(id));
    separator = ",";
  }
  text += "},\"merges\":[";
  separator = "";
  for (const auto& [left, right] : merges) {
    AppendJsonString(text.append(separator).append("["), left);
    AppendJsonString(text.append(","), right);
    text += ']';
    separator = ",";
  }
  return text + "]}";
}

// Gemma's files spell runs of spaces with spaces; they meet the text after the normalizer has marked its spaces.
void SpellSpaces(Vocabulary& vocabulary) {
  for (std::string& token : vocabulary.tokens) {
    if (token.empty() || token.find_first_not_of(' ') != std::string::npos) continue;
    std::string marks;
    for (size_t i = 0; i < token.size(); ++i) marks += kSpaceMark;
    token = std::move(marks);
  }
}

std::string TokenizerJson(const GgufFile& file, Vocabulary vocabulary) {
  const std::string_view kind = file.String("tokenizer.ggml.model").value_or("");
  const bool is_byte_level = kind == "gpt2";
  Require(is_byte_level || kind == "llama", ErrorCode::kUnsupported, file.where(), ": tokenizer.ggml.model is ", Quoted(kind),
          "; supported are llama (SentencePiece-style BPE) and gpt2 (byte-level BPE)");
  const bool is_gemma = file.architecture().starts_with("gemma");
  const Pipeline pipeline = is_byte_level ? ByteLevelPipeline(file) : SentencePiecePipeline(file, is_gemma);
  if (is_gemma) SpellSpaces(vocabulary);
  Require(is_byte_level || !vocabulary.scores.empty(), ErrorCode::kDataLoss, file.where(), ": tokenizer.ggml.scores is missing");
  const std::vector<Merge> merges =
      is_byte_level ? ReadMerges(file, vocabulary) : DeriveMerges(vocabulary, is_gemma ? MergeOrder::kById : MergeOrder::kByScore);
  json post_processor = Template(file, vocabulary, pipeline.adds_bos);
  if (is_byte_level) {
    json processors = json::array({ByteLevel(false)});  // plain braces around one json would copy it with clang, wrap it with g++
    if (!post_processor.is_null()) processors.push_back(post_processor);
    post_processor = {{"type", "Sequence"}, {"processors", processors}};
  }
  return StrCat(R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":)", AddedTokens(vocabulary).dump(),
                ",\"normalizer\":", pipeline.normalizer.dump(), ",\"pre_tokenizer\":", pipeline.pre_tokenizer.dump(),
                ",\"post_processor\":", post_processor.dump(), ",\"decoder\":", pipeline.decoder.dump(),
                ",\"model\":", ModelJson(vocabulary, merges, pipeline.model), "}\n");
}

std::string TokenizerConfigJson(const GgufFile& file, const Vocabulary& vocabulary) {
  json config{{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  const auto add = [&](const char* name, std::optional<int32_t> id) {
    const auto token = vocabulary.TokenOf(id);
    config[name] = token.has_value() ? json(*token) : json(nullptr);
  };
  add("bos_token", vocabulary.bos);
  add("eos_token", vocabulary.eos);
  add("unk_token", vocabulary.unknown);
  add("pad_token", vocabulary.padding);
  if (const auto source = file.String("tokenizer.chat_template"); source.has_value()) {
    Require(IsUtf8(*source), ErrorCode::kDataLoss, file.where(), ": tokenizer.chat_template is not valid UTF-8");
    config["chat_template"] = *source;
  }
  return config.dump(2) + '\n';
}

// Every id that ends a reply: the end of text, the ends of turn and message if stated, and those that the chat template writes.
std::vector<int32_t> EndIds(const GgufFile& file, const Vocabulary& vocabulary) {
  constexpr std::array<std::string_view, 3> kTurnEnds{"<end_of_turn>", "<|eot_id|>", "<|im_end|>"};
  std::vector<int32_t> ids;
  const auto add = [&](std::optional<int32_t> id) {
    if (id.has_value() && std::find(ids.begin(), ids.end(), *id) == ids.end()) ids.push_back(*id);
  };
  add(vocabulary.eos);
  for (const std::string_view key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"})
    add(ReadTokenId(file, key, vocabulary.tokens.size()));
  const std::string_view chat_template = file.String("tokenizer.chat_template").value_or("");
  for (const std::string_view token : kTurnEnds) {
    if (chat_template.find(token) == std::string_view::npos) continue;
    const auto found = std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), token);
    if (found != vocabulary.tokens.end()) add(static_cast<int32_t>(found - vocabulary.tokens.begin()));
  }
  return ids;
}

std::string GenerationConfigJson(const GgufFile& file, const Vocabulary& vocabulary) {
  json config = json::object();
  if (vocabulary.bos.has_value()) config["bos_token_id"] = *vocabulary.bos;
  if (vocabulary.padding.has_value()) config["pad_token_id"] = *vocabulary.padding;
  if (const auto ends = EndIds(file, vocabulary); !ends.empty()) config["eos_token_id"] = ends;
  return config.dump(2) + '\n';
}

}  // namespace

std::map<std::string, std::string> GgufTokenizerFiles(const GgufFile& file) {
  if (!file.has("tokenizer.ggml.model")) return {};
  Vocabulary vocabulary = ReadVocabulary(file);
  std::map<std::string, std::string> files;
  files["tokenizer_config.json"] = TokenizerConfigJson(file, vocabulary);
  files["generation_config.json"] = GenerationConfigJson(file, vocabulary);
  files["tokenizer.json"] = TokenizerJson(file, std::move(vocabulary));
  return files;
}

}  // namespace intaglio::checkpoint
