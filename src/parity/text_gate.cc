// The text that two bundles are compared on, as token ids, and the gate of an export that compares so.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/fail.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "intaglio/accuracy.h"
#include "parity/temporary_directory.h"
#include "text/tokenizer.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;

std::string_view View(const MappedFile& file) { return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}; }

// nullopt: the bundle has no tokenizer.
std::optional<std::vector<int32_t>> Encode(const fs::path& bundle, std::string_view text) {
  if (!fs::exists(bundle / "tokenizer.json")) return std::nullopt;
  return text::Tokenizer::Load(bundle).Encode(text, /*add_special_tokens=*/true);
}

std::vector<int32_t> ParseJsonIds(std::string_view text, const std::string& where) {
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  Require(json.is_array(), ErrorCode::kInvalidArgument, where, ": not a JSON list of token ids");
  std::vector<int32_t> ids;
  for (const auto& item : json) {
    Require(item.is_number_unsigned() && std::in_range<int32_t>(item.get<uint64_t>()), ErrorCode::kInvalidArgument, where, ": item ", ids.size(),
            " is no token id: ", item.dump());
    ids.push_back(item.get<int32_t>());
  }
  return ids;
}

std::vector<int32_t> ParsePlainIds(std::string_view text, const std::string& where) {
  constexpr std::string_view kSpace = " \t\r\n";
  std::vector<int32_t> ids;
  for (size_t begin = 0; (begin = text.find_first_not_of(kSpace, begin)) != std::string_view::npos;) {
    const std::string_view word = text.substr(begin, text.find_first_of(kSpace, begin) - begin);
    int32_t id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    Require(error == std::errc() && end == word.data() + word.size() && id >= 0, ErrorCode::kInvalidArgument, where, ": \"", word.substr(0, 40),
            "\" is no token id; expected are numbers between white space, or a JSON list");
    ids.push_back(id);
    begin += word.size();
  }
  return ids;
}

// The checkpoint in f32, for one sequence on one rank.
void ExportReference(const ExportOptions& made_by, const fs::path& output) {
  ExportOptions options = made_by;
  options.output = output;
  options.weights = options.kv_dtype = "f32";
  options.group = 0, options.keep.clear(), options.dequantize = false;
  options.max_batch = 1, options.batch_buckets = {1}, options.speculation = 0;
  options.tp_degree = 1, options.ep_degree = 0, options.expert_dispatch.clear();
  options.capacity_factor = 0;
  options.force = options.keep_probes = false;
  options.gate = {};
  options.cache.clear();   // large, and of use once
  (void)Export(options);
}

}  // namespace

std::vector<int32_t> ReadTextTokens(const fs::path& bundle, const fs::path& reference, const fs::path& text) {
  const MappedFile file(text);
  const auto ours = Encode(bundle, View(file)), theirs = Encode(reference, View(file));
  Require(ours || theirs, ErrorCode::kUnsupported, bundle.string(), ": neither bundle has a tokenizer; give token ids instead of text (--ids FILE)");
  if (!ours || !theirs) return ours ? *ours : *theirs;
  const auto differ = std::ranges::mismatch(*ours, *theirs);
  Require(ours == theirs, ErrorCode::kInvalidArgument, bundle.string(), " and ", reference.string(), " have different tokenizers: ", text.string(),
          " differs from token ", differ.in1 - ours->begin(), " on; are they of one model?");
  return *ours;
}

std::vector<int32_t> ReadTokenIds(const fs::path& file) {
  const MappedFile mapped(file);
  const std::string_view text = View(mapped);
  const size_t begin = text.find_first_not_of(" \t\r\n");
  return begin != std::string_view::npos && text[begin] == '[' ? ParseJsonIds(text, file.string()) : ParsePlainIds(text, file.string());
}

ParityGate JudgeOnText(const fs::path& bundle, const ExportOptions& made_by, const TextGate& gate) {
  std::optional<parity::TemporaryDirectory> temporary;
  fs::path reference = gate.reference;
  if (reference.empty()) {
    temporary.emplace(fs::absolute(bundle).parent_path());   // where there is room for a bundle
    reference = temporary->path() / "bundle";
    ExportReference(made_by, reference);
  }
  AccuracyOptions options;
  if (made_by.on_progress) {
    options.on_window = [&](int64_t done, int64_t total) {
      made_by.on_progress({.stage = "validating", .done = static_cast<uint64_t>(done), .total = static_cast<uint64_t>(total)});
    };
  }
  const TextAccuracy accuracy = CompareOnText(bundle, reference, ReadTextTokens(bundle, reference, gate.text), options);
  const bool is_ok = std::isfinite(accuracy.kl_mean) && accuracy.kl_mean <= gate.max_kl;
  return {.is_ok = is_ok,
          .capture = gate.text.filename().string(),
          .capture_digest = HashFile(gate.text),
          .isa = accuracy.isa,
          .divergence_mean = accuracy.kl_mean,
          .divergence_worst = accuracy.kl_worst,
          .first_divergence = -1,
          .checks = {{.kind = "mean KL divergence", .count = 1, .worst = accuracy.kl_mean, .tolerance = gate.max_kl, .is_ok = is_ok}},
          .text = accuracy};
}

}  // namespace intaglio
