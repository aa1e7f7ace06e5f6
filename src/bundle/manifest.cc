#include "bundle/manifest.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/fail.h"

namespace intaglio::bundle {
namespace {

using Json = nlohmann::ordered_json;

Json ToJsonObject(const KvGroup& group) { return {{"window", group.window}, {"blocks_per_slot", group.blocks_per_slot}}; }
Json ToJsonObject(const KvLayer& layer) {
  Json json{{"group", layer.group}, {"kv_heads", layer.kv_heads}, {"head_dim", layer.head_dim}, {"offset", layer.offset}, {"bytes", layer.bytes}};
  if (layer.v_dim != 0) json["v_dim"] = layer.v_dim;
  if (layer.dtype != DType::kF32) json["dtype"] = Name(layer.dtype);
  return json;
}
Json ToJsonObject(const StateEntry& state) {
  return {{"layer", state.layer},     {"name", state.name},     {"floats", state.floats},
          {"entries", state.entries}, {"offset", state.offset}, {"bytes", state.bytes}};
}
Json ToJsonObject(const EmbeddingEntry& embedding) {
  return {{"dim", embedding.dim},
          {"pooling", embedding.pooling},
          {"is_normalised", embedding.is_normalised},
          {"needs_whole_sequences", embedding.needs_whole_sequences}};
}
Json ToJsonObject(const WeightEntry& weight) {
  return {{"name", weight.name},         {"layout", weight.layout},
          {"dtype", Name(weight.dtype)}, {"shape", static_cast<const std::vector<int64_t>&>(weight.shape)},
          {"offset", weight.offset},     {"bytes", weight.bytes}};
}

Json ToJsonObject(const GateCheck& check) {
  return {{"kind", check.kind}, {"count", check.count}, {"worst", check.worst}, {"tolerance", check.tolerance}, {"ok", check.is_ok}};
}

Json ToJsonObject(const RankEntry& rank);

template <typename T>
Json ToJsonList(const std::vector<T>& items) {
  Json list = Json::array();
  for (const T& item : items) list.push_back(ToJsonObject(item));
  return list;
}

Json ToJsonObject(const TextAccuracy& text) {
  return {{"bundle", text.bundle},
          {"reference", text.reference},
          {"context", text.context},
          {"windows", text.windows},
          {"tokens", text.tokens},
          {"kl_p99", text.kl_p99},
          {"top1_agreement", text.top1_agreement},
          {"perplexity", text.perplexity},
          {"reference_perplexity", text.reference_perplexity}};
}

Json ToJsonObject(const ParityGate& gate) {
  Json json{{"ok", gate.is_ok},
            {"capture", gate.capture},
            {"capture_digest", gate.capture_digest},
            {"isa", gate.isa},
            {"kl_mean", gate.divergence_mean},
            {"kl_worst", gate.divergence_worst},
            {"first_divergence", gate.first_divergence},
            {"checks", ToJsonList(gate.checks)}};
  if (gate.text) json["text"] = ToJsonObject(*gate.text);
  return json;
}

// Typed, range-checked look-ups in one object of the manifest; errors name the file and the path of the field.
class Fields {
 public:
  Fields(const Json& json, std::string path) : json_(json), path_(std::move(path)) {
    Require(json.is_object(), ErrorCode::kDataLoss, path_, " is not an object");
  }
  [[nodiscard]] const Json& At(const char* key) const {
    const auto it = json_.find(key);
    Require(it != json_.end(), ErrorCode::kDataLoss, path_, ": the field \"", key, "\" is missing");
    return *it;
  }
  template <typename T>
  void Number(const char* key, T& out, int64_t least = 0) const {
    out = ToNumber<T>(At(key), key, least);
  }
  void String(const char* key, std::string& out) const {
    const Json& value = At(key);
    Require(value.is_string(), ErrorCode::kDataLoss, path_, ": \"", key, "\" is not a string");
    out = value.get<std::string>();
  }
  void Bool(const char* key, bool& out) const {
    const Json& value = At(key);
    Require(value.is_boolean(), ErrorCode::kDataLoss, path_, ": \"", key, "\" is not true or false");
    out = value.get<bool>();
  }
  void Type(const char* key, DType& out) const {
    std::string name;
    String(key, name);
    const auto dtype = DTypeFromName(name);
    Require(dtype.has_value(), ErrorCode::kDataLoss, path_, ": \"", key, "\": unknown element type \"", name, '"');
    out = *dtype;
  }
  // JSON has no infinity: null is one.
  void Real(const char* key, double& out) const {
    const Json& value = At(key);
    Require(value.is_number() || value.is_null(), ErrorCode::kDataLoss, path_, ": \"", key, "\" is not a number");
    out = value.is_null() ? std::numeric_limits<double>::infinity() : value.get<double>();
  }
  // A field that bundles without the feature lack: `out` keeps its value.
  template <typename T>
  void OptionalNumber(const char* key, T& out, int64_t least = 0) const {
    if (const auto it = json_.find(key); it != json_.end()) out = ToNumber<T>(*it, key, least);
  }
  void OptionalType(const char* key, DType& out) const {
    if (json_.contains(key)) Type(key, out);
  }
  void OptionalBool(const char* key, bool& out) const {
    if (json_.contains(key)) Bool(key, out);
  }
  template <typename T>
  void Numbers(const char* key, std::vector<T>& out, int64_t least = 0) const {
    for (const Json& item : List(key)) out.push_back(ToNumber<T>(item, key, least));
  }
  [[nodiscard]] const Json& List(const char* key) const {
    const Json& value = At(key);
    Require(value.is_array(), ErrorCode::kDataLoss, path_, ": \"", key, "\" is not a list");
    return value;
  }
  [[nodiscard]] Fields Object(const char* key) const { return {At(key), path_ + ": " + key}; }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const Json& json() const { return json_; }

 private:
  template <typename T>
  T ToNumber(const Json& value, const char* key, int64_t least) const {
    Require(value.is_number_integer(), ErrorCode::kDataLoss, path_, ": \"", key, "\" is not an integer");
    const bool is_in_range = value.is_number_unsigned() ? std::in_range<T>(value.get<uint64_t>()) : std::in_range<T>(value.get<int64_t>());
    Require(is_in_range && std::cmp_greater_equal(value.get<T>(), least), ErrorCode::kDataLoss, path_, ": \"", key,
            "\" is out of range: ", value.dump());
    return value.get<T>();
  }
  const Json& json_;
  std::string path_;
};

void Read(const Fields& in, KvGroup& group) {
  in.Number("window", group.window);
  in.Number("blocks_per_slot", group.blocks_per_slot);
}
void Read(const Fields& in, KvLayer& layer) {
  in.Number("group", layer.group);
  in.Number("kv_heads", layer.kv_heads);
  in.Number("head_dim", layer.head_dim);
  in.OptionalNumber("v_dim", layer.v_dim);
  in.OptionalType("dtype", layer.dtype);
  in.Number("offset", layer.offset);
  in.Number("bytes", layer.bytes);
}
void Read(const Fields& in, StateEntry& state) {
  in.Number("layer", state.layer);
  in.String("name", state.name);
  in.Number("floats", state.floats, 1);
  in.Number("entries", state.entries, 1);
  in.Number("offset", state.offset);
  in.Number("bytes", state.bytes);
}
void Read(const Fields& in, WeightEntry& weight) {
  in.String("name", weight.name);
  in.String("layout", weight.layout);
  in.Type("dtype", weight.dtype);
  in.Numbers("shape", weight.shape);
  in.Number("offset", weight.offset);
  in.Number("bytes", weight.bytes);
}

EmbeddingEntry ReadEmbedding(const Fields& in) {
  EmbeddingEntry embedding;
  in.Number("dim", embedding.dim, 1);
  in.String("pooling", embedding.pooling);
  in.Bool("is_normalised", embedding.is_normalised);
  in.Bool("needs_whole_sequences", embedding.needs_whole_sequences);
  return embedding;
}

void Read(const Fields& in, GateCheck& check) {
  in.String("kind", check.kind);
  in.Number("count", check.count);
  in.Real("worst", check.worst);
  in.Real("tolerance", check.tolerance);
  in.Bool("ok", check.is_ok);
}

template <typename T>
void ReadList(const Fields& in, const char* key, std::vector<T>& out) {
  for (const Json& item : in.List(key)) Read(Fields(item, StrCat(in.path(), ": ", key, '[', out.size(), ']')), out.emplace_back());
}

// What the gate says of a text as well, stands in the gate alone.
TextAccuracy ReadTextAccuracy(const Fields& in, const ParityGate& gate) {
  TextAccuracy text{.isa = gate.isa, .kl_mean = gate.divergence_mean, .kl_worst = gate.divergence_worst};
  in.String("bundle", text.bundle);
  in.String("reference", text.reference);
  in.Number("context", text.context);
  in.Number("windows", text.windows);
  in.Number("tokens", text.tokens);
  in.Real("kl_p99", text.kl_p99);
  in.Real("top1_agreement", text.top1_agreement);
  in.Real("perplexity", text.perplexity);
  in.Real("reference_perplexity", text.reference_perplexity);
  return text;
}

ParityGate ReadGate(const Fields& in) {
  ParityGate gate;
  in.Bool("ok", gate.is_ok);
  in.String("capture", gate.capture);
  in.String("capture_digest", gate.capture_digest);
  in.String("isa", gate.isa);
  in.Real("kl_mean", gate.divergence_mean);
  in.Real("kl_worst", gate.divergence_worst);
  in.Number("first_divergence", gate.first_divergence, -1);
  ReadList(in, "checks", gate.checks);
  if (in.json().contains("text")) gate.text = ReadTextAccuracy(in.Object("text"), gate);
  return gate;
}

Json ToJsonObject(const MemoryPlan& memory) {
  return {{"weights", memory.weights}, {"kv_cache", memory.kv_cache}, {"arena", memory.arena}, {"tokenizer", memory.tokenizer}};
}

Json ToJsonObject(const RankEntry& rank) {
  Json json{{"vocab_begin", rank.vocab_begin},
            {"vocab_end", rank.vocab_end},
            {"kv_layers", ToJsonList(rank.kv_layers)},
            {"memory", ToJsonObject(rank.memory)},
            {"weights", ToJsonList(rank.weights)}};
  if (!rank.states.empty()) json["states"] = ToJsonList(rank.states);
  return json;
}

void ReadRank(const Fields& in, RankEntry& rank) {
  in.OptionalNumber("vocab_begin", rank.vocab_begin);
  in.OptionalNumber("vocab_end", rank.vocab_end);
  ReadList(in, "kv_layers", rank.kv_layers);
  if (in.json().contains("states")) ReadList(in, "states", rank.states);
  const Fields memory = in.Object("memory");
  memory.Number("weights", rank.memory.weights);
  memory.Number("kv_cache", rank.memory.kv_cache);
  memory.Number("arena", rank.memory.arena);
  memory.Number("tokenizer", rank.memory.tokenizer);
  ReadList(in, "weights", rank.weights);
}

// Of one rank, whose fields stand in the manifest itself, or of the one that is asked for.
void ReadRanks(const Fields& in, int rank, Manifest& m) {
  Require(rank >= 0 && rank < m.tp_degree, ErrorCode::kInvalidArgument, in.path(), ": the bundle has ", m.tp_degree, " ranks, and none numbered ",
          rank);
  if (m.tp_degree == 1) return ReadRank(in, m);
  const Json& list = in.List("ranks");
  Require(std::cmp_equal(list.size(), m.tp_degree), ErrorCode::kDataLoss, in.path(), ": lists ", list.size(), " ranks, but tp_degree is ",
          m.tp_degree);
  for (const Json& item : list) {
    const std::string path = StrCat(in.path(), ": ranks[", m.ranks.size(), ']');
    ReadRank(Fields(item, path), m.ranks.emplace_back());
  }
  static_cast<RankEntry&>(m) = m.ranks[static_cast<size_t>(rank)];
}

}  // namespace

std::string ToJson(const Manifest& m) {
  Json files = Json::object();
  for (const auto& [name, file] : m.files) files[name] = {{"bytes", file.bytes}, {"xxh3", file.hash}};
  Json json{{"format_version", m.format_version},
            {"compiler_version", m.compiler_version},
            {"architecture", m.architecture},
            {"model_type", m.model_type},
            {"source", m.source},
            {"source_hash", m.source_hash},
            {"numerics", m.numerics},
            {"weight_dtype", Name(m.weight_dtype)},
            {"tp_degree", m.tp_degree},
            {"ep_degree", m.ep_degree},
            {"vocab_size", m.vocab_size},
            {"hidden_size", m.hidden_size},
            {"num_layers", m.num_layers},
            {"max_context", m.max_context},
            {"max_slots", m.max_slots},
            {"speculation", m.speculation},
            {"prefill_buckets", m.prefill_buckets},
            {"batch_buckets", m.batch_buckets},
            {"eos_ids", m.eos_ids},
            {"bos_id", m.bos_id},
            {"pad_id", m.pad_id},
            {"kv_groups", ToJsonList(m.kv_groups)}};
  if (m.ranks.empty()) {
    json["kv_layers"] = ToJsonList(m.kv_layers);
    json["memory"] = ToJsonObject(m.memory);
    json["weights"] = ToJsonList(m.weights);
  } else {
    json["ranks"] = ToJsonList(m.ranks);
  }
  json["files"] = files;
  if (m.ranks.empty() && !m.states.empty()) json["states"] = ToJsonList(m.states);
  if (m.rope_switch != 0) json["rope_switch"] = m.rope_switch;
  if (m.rope_follows_length) json["rope_follows_length"] = true;
  if (m.capacity_factor != 0) json["capacity_factor"] = m.capacity_factor;
  if (!m.expert_dispatch.empty()) json["expert_dispatch"] = m.expert_dispatch;
  if (m.embedding) json["task"] = "embed", json["embedding"] = ToJsonObject(*m.embedding);
  if (m.parity) json["parity"] = ToJsonObject(*m.parity);
  // The source's name may be any bytes: what is not UTF-8 is replaced.
  return json.dump(1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

Manifest ManifestFromJson(std::string_view text, const std::string& where, int rank) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  Require(!json.is_discarded(), ErrorCode::kDataLoss, where, ": not JSON");
  const Fields in(json, where);
  Manifest m;
  in.Number("format_version", m.format_version);
  Require(m.format_version >= 1 && m.format_version <= kFormatVersion, ErrorCode::kUnsupported, where, ": bundle format ", m.format_version,
          "; this Intaglio reads up to ", kFormatVersion, ": use a newer Intaglio, or run intaglio export again");
  in.String("compiler_version", m.compiler_version);
  in.String("architecture", m.architecture);
  in.String("model_type", m.model_type);
  in.String("source", m.source);
  in.String("source_hash", m.source_hash);
  in.String("numerics", m.numerics);
  in.Type("weight_dtype", m.weight_dtype);
  in.Number("tp_degree", m.tp_degree, 1);
  in.Number("ep_degree", m.ep_degree, 1);
  in.Number("vocab_size", m.vocab_size, 1);
  in.Number("hidden_size", m.hidden_size, 1);
  in.Number("num_layers", m.num_layers, 1);
  in.Number("max_context", m.max_context, 1);
  in.OptionalNumber("rope_switch", m.rope_switch);
  in.OptionalBool("rope_follows_length", m.rope_follows_length);
  if (json.contains("capacity_factor")) in.Real("capacity_factor", m.capacity_factor);
  if (json.contains("expert_dispatch")) in.String("expert_dispatch", m.expert_dispatch);
  in.Number("max_slots", m.max_slots, 1);
  in.Number("speculation", m.speculation);
  in.Numbers("prefill_buckets", m.prefill_buckets, 1);
  in.Numbers("batch_buckets", m.batch_buckets, 1);
  in.Numbers("eos_ids", m.eos_ids);
  in.Number("bos_id", m.bos_id, -1);
  in.Number("pad_id", m.pad_id, -1);
  if (json.contains("embedding")) m.embedding = ReadEmbedding(in.Object("embedding"));
  ReadList(in, "kv_groups", m.kv_groups);
  ReadRanks(in, rank, m);
  if (json.contains("parity")) m.parity = ReadGate(in.Object("parity"));
  const Fields files = in.Object("files");
  for (const auto& [name, unused] : files.json().items()) {
    const Fields file = files.Object(name.c_str());
    file.Number("bytes", m.files[name].bytes);
    file.String("xxh3", m.files[name].hash);
  }
  return m;
}

}  // namespace intaglio::bundle
