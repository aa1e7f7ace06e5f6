#include "checkpoint/hf_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "base/fail.h"
#include "checkpoint/json.h"

namespace intaglio::checkpoint {
namespace {

using nlohmann::json;

// Python writes Infinity and NaN, which JSON lacks; such a field counts as null.
std::string WithoutPythonNumbers(std::string_view text) {
  constexpr std::array<std::string_view, 3> kWords{"-Infinity", "Infinity", "NaN"};
  std::string result;
  result.reserve(text.size());
  bool is_in_string = false;
  while (!text.empty()) {
    const auto* word =
        is_in_string ? kWords.end() : std::find_if(kWords.begin(), kWords.end(), [&](std::string_view w) { return text.starts_with(w); });
    if (word != kWords.end()) {
      result += "null";
      text.remove_prefix(word->size());
      continue;
    }
    const size_t taken = is_in_string && text[0] == '\\' && text.size() > 1 ? 2 : 1;
    if (text[0] == '"') is_in_string = !is_in_string;
    result += text.substr(0, taken);
    text.remove_prefix(taken);
  }
  return result;
}

// A JSON object with the words for its faults: "config.json", or "config.json, rope_scaling".
struct Fields {
  const json& object;
  std::string where;

  const json* Find(std::string_view key) const {
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }
  const json& Need(std::string_view key, std::string_view expected) const {
    const json* value = Find(key);
    Require(value != nullptr, ErrorCode::kDataLoss, where, ": ", key, " is missing; expected ", expected);
    return *value;
  }
  [[noreturn]] void FailType(std::string_view key, const json& value, std::string_view expected) const {
    constexpr size_t kMaxShown = 60;
    std::string shown = value.dump(-1, ' ', /*ensure_ascii=*/true);
    if (shown.size() > kMaxShown) shown = StrCat(shown.substr(0, kMaxShown), "…");
    Fail(ErrorCode::kDataLoss, where, ": ", key, " is ", shown, "; expected ", expected);
  }

  int64_t Int(std::string_view key) const {
    constexpr std::string_view kExpected = "a positive integer";
    const json& value = Need(key, kExpected);
    const bool is_fit = value.is_number_unsigned() && value.get<uint64_t>() > 0 && value.get<uint64_t>() <= std::numeric_limits<int64_t>::max();
    if (!is_fit) FailType(key, value, kExpected);
    return value.get<int64_t>();
  }
  double Float(std::string_view key) const {
    constexpr std::string_view kExpected = "a finite number";
    const json& value = Need(key, kExpected);
    if (!value.is_number() || !std::isfinite(value.get<double>())) FailType(key, value, kExpected);
    return value.get<double>();
  }
  double PositiveFloat(std::string_view key) const {
    const double value = Float(key);
    if (!(value > 0)) FailType(key, value, "a positive number");
    return value;
  }
  bool Bool(std::string_view key) const {
    const json& value = Need(key, "true or false");
    if (!value.is_boolean()) FailType(key, value, "true or false");
    return value.get<bool>();
  }
  std::string String(std::string_view key) const {
    const json& value = Need(key, "a string");
    if (!value.is_string()) FailType(key, value, "a string");
    return value.get<std::string>();
  }
  std::vector<double> PositiveFloats(std::string_view key) const {
    constexpr std::string_view kExpected = "a list of positive numbers";
    const json& list = Need(key, kExpected);
    const auto is_fit = [](const json& item) { return item.is_number() && std::isfinite(item.get<double>()) && item.get<double>() > 0; };
    if (!list.is_array() || !std::all_of(list.begin(), list.end(), is_fit)) FailType(key, list, kExpected);
    return list.get<std::vector<double>>();
  }
};

// The object that holds rope_type and its settings, and the base frequency, of either style of config.
struct RopeSource {
  const json* settings = nullptr;  // null: no scaling
  std::string where;
  double theta = RopeConfig{}.theta;
};

// rope_parameters, as Transformers 5 writes it: flat, or keyed by layer type.
RopeSource NewStyle(const Fields& config, std::string_view layer_type, std::string_view theta_key) {
  const json& parameters = *config.Find("rope_parameters");
  if (!parameters.is_object()) config.FailType("rope_parameters", parameters, "an object");
  const bool is_keyed = std::any_of(parameters.begin(), parameters.end(), [](const json& value) { return value.is_object(); });
  Fields fields{parameters, StrCat(config.where, ", rope_parameters")};
  RopeSource source{.settings = &parameters, .where = fields.where};
  if (is_keyed) {
    Require(!layer_type.empty(), ErrorCode::kUnsupported, fields.where, " is keyed by layer type; this architecture has one kind of layer");
    const json& own = fields.Need(layer_type, "an object");
    if (!own.is_object()) fields.FailType(layer_type, own, "an object");
    source.settings = &own;
    source.where = StrCat(fields.where, '.', layer_type);
  }
  const Fields own{*source.settings, source.where};
  if (own.Find("rope_theta") != nullptr) {
    source.theta = own.PositiveFloat("rope_theta");
  } else if (config.Find(theta_key) != nullptr) {
    source.theta = config.PositiveFloat(theta_key);
  }
  return source;
}

// rope_theta and rope_scaling beside it. A second base (Gemma 3's rope_local_base_freq) is never scaled.
RopeSource OldStyle(const Fields& config, std::string_view theta_key) {
  RopeSource source{.where = StrCat(config.where, ", rope_scaling")};
  if (config.Find(theta_key) != nullptr) source.theta = config.PositiveFloat(theta_key);
  const json* scaling = config.Find("rope_scaling");
  if (scaling == nullptr || theta_key != "rope_theta") return source;
  if (!scaling->is_object()) config.FailType("rope_scaling", *scaling, "an object or null");
  source.settings = scaling;
  return source;
}

void ReadLlama3(const Fields& config, const Fields& settings, RopeConfig& rope) {
  rope.low_freq_factor = settings.PositiveFloat("low_freq_factor");
  rope.high_freq_factor = settings.PositiveFloat("high_freq_factor");
  Require(rope.low_freq_factor < rope.high_freq_factor, ErrorCode::kDataLoss, settings.where, ": low_freq_factor ", rope.low_freq_factor,
          " must be below high_freq_factor ", rope.high_freq_factor);
  constexpr std::string_view kOriginal = "original_max_position_embeddings";
  rope.original_max_position_embeddings = (settings.Find(kOriginal) != nullptr ? settings : config).Int(kOriginal);
}

// What yarn and longrope share. A length beside the settings comes before one within (configuration_utils.py).
void ReadOriginalLength(const Fields& config, const Fields& settings, RopeConfig& rope) {
  constexpr std::string_view kOriginal = "original_max_position_embeddings";
  for (const Fields* fields : {&config, &settings}) {
    if (rope.original_max_position_embeddings == 0 && fields->Find(kOriginal) != nullptr)
      rope.original_max_position_embeddings = fields->Int(kOriginal);
  }
  rope.factor = settings.Find("factor") != nullptr ? settings.PositiveFloat("factor") : 0;
  if (settings.Find("attention_factor") != nullptr) rope.attention_factor = settings.PositiveFloat("attention_factor");
}

// Zero counts as absent, as Transformers reads these.
void ReadYarn(const Fields& settings, RopeConfig& rope) {
  const auto read = [&](std::string_view key, double& value) {
    if (settings.Find(key) != nullptr && settings.Float(key) != 0) value = settings.PositiveFloat(key);
  };
  read("beta_fast", rope.beta_fast);
  read("beta_slow", rope.beta_slow);
  read("mscale", rope.mscale);
  read("mscale_all_dim", rope.mscale_all_dim);
  if (settings.Find("truncate") != nullptr) rope.truncate = settings.Bool("truncate");
}

}  // namespace

struct HfConfig::Impl {
  json root;
  std::string where;
  [[nodiscard]] Fields fields() const { return {root, where}; }
};

HfConfig::HfConfig(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HfConfig::HfConfig(HfConfig&&) noexcept = default;
HfConfig& HfConfig::operator=(HfConfig&&) noexcept = default;
HfConfig::~HfConfig() = default;

HfConfig HfConfig::Parse(std::string_view text, std::string where) {
  json root = ParseJsonObject(WithoutPythonNumbers(text), where, DuplicateKeys::kLastWins);
  return HfConfig(std::make_unique<Impl>(Impl{.root = std::move(root), .where = std::move(where)}));
}

std::string HfConfig::architecture() const {
  const std::vector<std::string> names = Strings("architectures");
  Require(!names.empty(), ErrorCode::kDataLoss, where(), ": architectures is missing or empty; expected a list such as [\"LlamaForCausalLM\"]");
  return names.front();
}

bool HfConfig::has(std::string_view key) const { return impl_->fields().Find(key) != nullptr; }
bool HfConfig::is_null(std::string_view key) const {
  const auto found = impl_->root.find(key);
  return found != impl_->root.end() && found->is_null();
}
std::string HfConfig::quantization() const {
  const json* settings = impl_->fields().Find("quantization_config");
  if (settings == nullptr) return {};
  Require(settings->is_object(), ErrorCode::kDataLoss, where(), ": quantization_config is not an object");
  return Fields{*settings, where() + ": quantization_config"}.String("quant_method");
}
bool HfConfig::is_number(std::string_view key) const {
  const json* value = impl_->fields().Find(key);
  return value != nullptr && value->is_number();
}
int64_t HfConfig::Int(std::string_view key) const { return impl_->fields().Int(key); }
double HfConfig::Float(std::string_view key) const { return impl_->fields().Float(key); }
bool HfConfig::Bool(std::string_view key) const { return impl_->fields().Bool(key); }
std::string HfConfig::String(std::string_view key) const { return impl_->fields().String(key); }
int64_t HfConfig::Int(std::string_view key, int64_t otherwise) const { return has(key) ? Int(key) : otherwise; }
double HfConfig::Float(std::string_view key, double otherwise) const { return has(key) ? Float(key) : otherwise; }
bool HfConfig::Bool(std::string_view key, bool otherwise) const { return has(key) ? Bool(key) : otherwise; }
std::string HfConfig::String(std::string_view key, std::string_view otherwise) const { return has(key) ? String(key) : std::string(otherwise); }

std::vector<std::string> HfConfig::Strings(std::string_view key) const {
  const Fields fields = impl_->fields();
  const json* list = fields.Find(key);
  if (list == nullptr) return {};
  const bool is_fit = list->is_array() && std::all_of(list->begin(), list->end(), [](const json& item) { return item.is_string(); });
  if (!is_fit) fields.FailType(key, *list, "a list of strings");
  return list->get<std::vector<std::string>>();
}

std::vector<int32_t> HfConfig::Ids(std::string_view key) const {
  const Fields fields = impl_->fields();
  const json* value = fields.Find(key);
  if (value == nullptr) return {};
  const auto is_id = [](const json& item) { return item.is_number_unsigned() && item.get<uint64_t>() <= std::numeric_limits<int32_t>::max(); };
  if (is_id(*value)) return {value->get<int32_t>()};
  const bool is_fit = value->is_array() && std::all_of(value->begin(), value->end(), is_id);
  if (!is_fit) fields.FailType(key, *value, "a token id or a list of them");
  return value->get<std::vector<int32_t>>();
}

std::vector<double> HfConfig::Floats(std::string_view key) const {
  const Fields fields = impl_->fields();
  const json* list = fields.Find(key);
  if (list == nullptr) return {};
  static const json kInfinity{{"__float__", "Infinity"}};
  // Python's own word was replaced by null when the text was parsed.
  const auto is_infinity = [](const json& item) { return item.is_null() || item == kInfinity; };
  const auto is_fit = [&](const json& item) { return is_infinity(item) || (item.is_number() && std::isfinite(item.get<double>())); };
  if (!list->is_array() || !std::all_of(list->begin(), list->end(), is_fit)) fields.FailType(key, *list, "a list of numbers");
  std::vector<double> numbers;
  for (const json& item : *list) numbers.push_back(is_infinity(item) ? std::numeric_limits<double>::infinity() : item.get<double>());
  return numbers;
}

RopeConfig HfConfig::Rope(const std::vector<std::string>& supported, std::string_view layer_type, std::string_view theta_key) const {
  const Fields config = impl_->fields();
  const RopeSource source = has("rope_parameters") ? NewStyle(config, layer_type, theta_key) : OldStyle(config, theta_key);
  RopeConfig rope{.theta = source.theta};
  static const json kNoSettings = json::object();
  const Fields settings{source.settings != nullptr ? *source.settings : kNoSettings, source.where};
  for (const std::string_view key : {"type", "rope_type"}) {  // the newer name wins
    if (settings.Find(key) != nullptr) rope.type = settings.String(key);
  }
  // The first releases of Phi-3 spelled longrope so.
  if ((rope.type == "su" || rope.type == "yarn") && settings.Find("short_factor") != nullptr) rope.type = "longrope";
  Require(std::find(supported.begin(), supported.end(), rope.type) != supported.end(), ErrorCode::kUnsupported, settings.where, ": rotary scaling ",
          Quoted(rope.type), " is not supported for ", String("model_type", "this model"), "; supported: ", Join(supported));
  const Fields& partial = settings.Find("partial_rotary_factor") != nullptr ? settings : config;
  rope.has_partial_rotary_factor = partial.Find("partial_rotary_factor") != nullptr;
  if (rope.has_partial_rotary_factor) rope.partial_rotary_factor = partial.PositiveFloat("partial_rotary_factor");
  if (rope.type == "yarn" || rope.type == "longrope") {
    ReadOriginalLength(config, settings, rope);
  } else if (rope.type != "default") {
    rope.factor = settings.PositiveFloat("factor");
  }
  if (rope.type == "llama3") ReadLlama3(config, settings, rope);
  if (rope.type == "yarn") ReadYarn(settings, rope);
  if (rope.type == "longrope") rope.short_factor = settings.PositiveFloats("short_factor"), rope.long_factor = settings.PositiveFloats("long_factor");
  return rope;
}

std::optional<std::string> HfConfig::dtype() const {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kNames{{{"float32", "f32"}, {"bfloat16", "bf16"}, {"float16", "f16"}}};
  for (const std::string_view key : {"dtype", "torch_dtype"}) {
    if (!has(key)) continue;
    const std::string name = String(key);
    const auto* found = std::find_if(kNames.begin(), kNames.end(), [&](const auto& entry) { return entry.first == name; });
    Require(found != kNames.end(), ErrorCode::kUnsupported, where(), ": ", key, " is ", Quoted(name), "; supported: float32, bfloat16, float16");
    return std::string(found->second);
  }
  return std::nullopt;
}

const std::string& HfConfig::where() const { return impl_->where; }

}  // namespace intaglio::checkpoint
