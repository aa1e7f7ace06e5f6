#include "bundle/manifest.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/fail.h"
#include "bundle/json_fields.h"

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
  in.ForEach(key, [&](const Fields& item) { Read(item, out.emplace_back()); });
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
            {"weight_dtype", m.weight_format},
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
  in.String("weight_dtype", m.weight_format);
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
