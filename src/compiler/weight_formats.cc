#include "compiler/weight_formats.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "base/fail.h"
#include "compiler/source_reader.h"
#include "kernels/quant_format.h"

namespace intaglio::compiler {
namespace {

using graph::Weight;

// Fewer elements are not worth their error: a router's, a gate's of a few heads.
constexpr int64_t kLeastElements = 1 << 14, kLeastK = 64;
constexpr int kDefaultInt8Group = 32, kDefaultInt4Group = 64;
// What decides where rows go is as sensitive as it is small.
constexpr std::array<std::string_view, 3> kRouters{"gate", "router", "shared_expert_gate"};

// What is stored in 32 or 16 bits per float stays exact as f32; bfloat16 and quantised checkpoints are bfloat16's size.
DType ExactDType(const checkpoint::Checkpoint& checkpoint) {
  const bool is_exact_only_in_f32 = std::ranges::all_of(checkpoint.tensor_names(), [&](const std::string& name) {
    const std::string type = checkpoint.stored_type(name);
    return type == "F32" || type == "F16";
  });
  return is_exact_only_in_f32 ? DType::kF32 : DType::kBF16;
}

DType Int8(int group) { return group == 128 ? DType::kInt8G128 : group == 64 ? DType::kInt8G64 : DType::kQ8_0; }
DType Int4(int group) { return group == 128 ? DType::kInt4G128 : group == 64 ? DType::kInt4G64 : DType::kQ4_1; }

bool IsGroup(int group) { return group == 32 || group == 64 || group == 128; }

// "f32", "bf16", "int8", "int4", the latter with a group of weights that share a scale ("int8g64") or without.
std::optional<DType> ParseFormat(std::string_view text, int default_group) {
  if (text == "f32") return DType::kF32;
  if (text == "bf16") return DType::kBF16;
  for (int group : {32, 64, 128}) {
    if (text == StrCat("int8g", group)) return Int8(group);
    if (text == StrCat("int4g", group)) return Int4(group);
  }
  if (text == "int8") return Int8(default_group == 0 ? kDefaultInt8Group : default_group);
  if (text == "int4") return Int4(default_group == 0 ? kDefaultInt4Group : default_group);
  return std::nullopt;
}

bool Matches(const std::string& pattern, const std::string& name) { return fnmatch(pattern.c_str(), name.c_str(), 0) == 0; }

// A pattern with dots is about whole names, with or without their ".weight"; one without is about any word between dots.
bool IsAbout(const std::string& pattern, const std::string& name) {
  if (pattern.find('.') != std::string::npos) {
    constexpr std::string_view kSuffix = ".weight";
    return Matches(pattern, name) || (name.ends_with(kSuffix) && Matches(pattern, name.substr(0, name.size() - kSuffix.size())));
  }
  for (size_t begin = 0; begin < name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    if (Matches(pattern, name.substr(begin, end - begin))) return true;
    begin = end + 1;
  }
  return false;
}

bool IsAbout(const std::string& pattern, const Weight& weight) {
  return IsAbout(pattern, weight.name) ||
         std::ranges::any_of(weight.sources, [&](const graph::WeightSource& source) { return IsAbout(pattern, source.name); });
}

bool IsMatrix(const Weight& weight) { return weight.layout == graph::Layout::kMatmul || weight.layout == graph::Layout::kExperts; }

bool IsCutByColumns(const graph::WeightSource& source) {
  return source.shard == graph::Shard::kColumns || source.shard == graph::Shard::kHeadColumns;
}

// By the tensors, whatever part of them a rank has.
bool IsSensitive(const Weight& weight) {
  const graph::WeightSource& source = weight.sources.front();
  const int64_t k = IsCutByColumns(source) ? source.whole_cols() : weight.shape.back();
  return k < kLeastK || source.shape.num_elements() < kLeastElements ||
         std::ranges::any_of(kRouters, [&](std::string_view router) { return IsAbout(std::string(router), weight); });
}

}  // namespace

WeightFormats::WeightFormats(const ExportOptions& options, const checkpoint::Checkpoint& checkpoint)
    : checkpoint_(checkpoint), exact_(ExactDType(checkpoint)), is_gguf_(options.source.extension() == ".gguf") {
  Require(options.group == 0 || IsGroup(options.group), ErrorCode::kInvalidArgument, "export: --group ", options.group,
          " is not supported; 32, 64 and 128 are");
  const bool is_auto = options.weights.empty() || options.weights == "auto";
  const std::optional<DType> asked = is_auto ? exact_ : ParseFormat(options.weights, options.group);
  Require(asked.has_value(), ErrorCode::kInvalidArgument, "export: --weights ", options.weights,
          " is not supported; f32, bf16, int8, int4 and auto are");
  matrices_ = *asked, vocabulary_ = *asked;
  if (IsQuantized(matrices_) && kernels::FormatOf(matrices_).bits == 4) vocabulary_ = Int8(static_cast<int>(kernels::FormatOf(matrices_).group_k));
  keeps_stored_ = is_auto && !options.dequantize;
  for (const std::string& text : options.keep) {
    const size_t at = text.rfind('=');
    const auto dtype = at == std::string::npos || at == 0 ? std::nullopt : ParseFormat(std::string_view(text).substr(at + 1), options.group);
    Require(dtype.has_value(), ErrorCode::kInvalidArgument, "export: --keep ", text,
            " is no PATTERN=FORMAT, for instance lm_head=int8 or model.layers.0.*=bf16; formats are f32, bf16, int8 and int4, with a group if it "
            "shall be another than --group (int8g64)");
    keep_.push_back({.text = text, .pattern = text.substr(0, at), .dtype = *dtype});
  }
}

graph::WeightFormat WeightFormats::Of(const Weight& weight) const {
  const DType dtype = Choose(weight);
  return {.dtype = dtype, .unit_k = kernels::SegmentUnit(dtype)};
}

DType WeightFormats::Choose(const Weight& weight) const {
  // The last rule that is about it counts.
  const auto rule = std::ranges::find_if(keep_.rbegin(), keep_.rend(), [&](const Rule& r) { return IsAbout(r.pattern, weight); });
  if (rule != keep_.rend()) return rule->dtype;
  if (keeps_stored_) {
    const std::optional<DType> stored = SourceReader::QuantizedAs(weight, checkpoint_);
    return stored ? *stored : exact_;
  }
  if (!IsQuantized(matrices_)) return matrices_;
  if (IsSensitive(weight)) return exact_;
  return weight.sources.front().shard == graph::Shard::kVocab ? vocabulary_ : matrices_;
}

std::string WeightFormats::NameOf(std::span<const Weight> weights) const {
  const bool has_stored = keeps_stored_ && std::ranges::any_of(weights, [](const Weight& weight) { return IsQuantized(weight.dtype); });
  std::string name(Name(matrices_));
  if (has_stored) name = is_gguf_ ? "gguf" : "mxfp4";
  if (IsQuantized(matrices_)) {
    const kernels::QuantFormat& format = kernels::FormatOf(matrices_);
    name = StrCat("int", format.bits, 'g', format.group_k);
  }
  return keep_.empty() ? name : name + " mixed";
}

void WeightFormats::RequireUse(std::span<const Weight> weights) const {
  for (const Rule& rule : keep_) {
    const bool is_used = std::ranges::any_of(weights, [&](const Weight& weight) { return IsMatrix(weight) && IsAbout(rule.pattern, weight); });
    Require(is_used, ErrorCode::kInvalidArgument, "export: --keep ", rule.text,
            " is about no matrix of this model; intaglio inspect --weights lists those of a bundle (a head that is tied to the embedding is "
            "embed_tokens)");
  }
}

graph::FormatPolicy EveryMatrixAs(DType dtype) {
  return [dtype](const Weight&) { return graph::WeightFormat{.dtype = dtype, .unit_k = kernels::SegmentUnit(dtype)}; };
}

}  // namespace intaglio::compiler
