#include "bundle/manifest.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "tests/base/temporary_folder.h"
#include "tests/bundle/small_bundle.h"

namespace intaglio::bundle {
namespace {

using Json = nlohmann::json;
using Pointer = Json::json_pointer;

Manifest FullManifest() {
  Manifest manifest = MakeSmallBundle().manifest;
  manifest.files["plan.bin"] = {.bytes = 10, .hash = "abc"};
  manifest.states = {{.layer = 3, .name = "conv", .floats = 20, .entries = 4, .offset = 64, .bytes = 1024}};
  return manifest;
}

Json FullJson() { return Json::parse(ToJson(FullManifest())); }

std::string ParseError(ErrorCode code, const Json& json) {
  return MessageOf(code, [&] { (void)ManifestFromJson(json.dump(), "manifest.json"); });
}

bool Contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// Every field of the manifest and of the first item of its lists.
std::vector<Pointer> AllFields(const Json& json, const Pointer& at = Pointer()) {
  std::vector<Pointer> fields;
  for (const auto& [key, value] : json.items()) {
    const Pointer field = json.is_array() ? at / std::stoul(key) : at / key;
    if (json.is_object()) fields.push_back(field);
    if (!value.is_structured() || (json.is_array() && key != "0")) continue;
    const std::vector<Pointer> inner = AllFields(value, field);
    fields.insert(fields.end(), inner.begin(), inner.end());
  }
  return fields;
}

TEST(Manifest, SurvivesARoundTrip) {
  const std::string json = ToJson(FullManifest());
  EXPECT_EQ(ToJson(ManifestFromJson(json, "manifest.json")), json);
  const Manifest manifest = ManifestFromJson(json, "manifest.json");
  EXPECT_EQ(manifest.eos_ids, (std::vector<int32_t>{1, 6}));
  EXPECT_EQ(manifest.bos_id, 2);
  EXPECT_EQ(manifest.pad_id, -1);
  EXPECT_EQ(manifest.kv_groups.front().window, 16);
  EXPECT_EQ(manifest.weights.front().shape, (Shape{16, 16}));
  EXPECT_EQ(manifest.files.at("plan.bin").hash, "abc");
  EXPECT_EQ(manifest.states.front().name, "conv");
  EXPECT_EQ(manifest.states.front().entries, 4);
  EXPECT_EQ(manifest.memory.total(), kWeightsBytes + kKvBytes + kArenaBytes + 12);
}

TEST(Manifest, RemembersHowExpertsResultsTravelWhereSomebodyChose) {
  Manifest manifest = FullManifest();
  EXPECT_FALSE(Json::parse(ToJson(manifest)).contains("expert_dispatch"));
  manifest.expert_dispatch = "exchange";
  EXPECT_EQ(ManifestFromJson(ToJson(manifest), "manifest.json").expert_dispatch, "exchange");
}

TEST(ManifestFromJson, NamesEveryMissingField) {
  const Json json = FullJson();
  for (const Pointer& field : AllFields(json)) {
    if (field.parent_pointer() == Pointer("/files")) continue;   // names of files are free
    if (field == Pointer("/states")) continue;                   // bundles of models without recurrent layers have none
    Json without = json;
    without[field.parent_pointer()].erase(field.back());
    const std::string message = ParseError(ErrorCode::kDataLoss, without);
    EXPECT_TRUE(Contains(message, "manifest.json") && Contains(message, '"' + field.back() + "\" is missing")) << field << ": " << message;
  }
}

TEST(ManifestFromJson, RefusesEveryFieldOfAnotherType) {
  const Json json = FullJson();
  for (const Pointer& field : AllFields(json)) {
    Json wrong = json;
    wrong[field] = 1.5;
    ParseError(ErrorCode::kDataLoss, wrong);
  }
}

TEST(ManifestFromJson, RefusesNumbersOutOfRange) {
  for (const auto& [field, value] : std::vector<std::pair<const char*, Json>>{{"/vocab_size", 0},
                                                                              {"/max_slots", -1},
                                                                              {"/max_slots", 1LL << 40},
                                                                              {"/max_context", 18446744073709551615ULL},
                                                                              {"/batch_buckets/0", 0},
                                                                              {"/bos_id", -2},
                                                                              {"/kv_layers/0/offset", -64}}) {
    Json wrong = FullJson();
    wrong[Pointer(field)] = value;
    EXPECT_TRUE(Contains(ParseError(ErrorCode::kDataLoss, wrong), "is out of range")) << field;
  }
}

TEST(ManifestFromJson, NamesANewerFormat) {
  Json newer = FullJson();
  newer["format_version"] = kFormatVersion + 1;
  newer.erase("vocab_size");   // the version is looked at before anything that it may have changed
  const std::string message = ParseError(ErrorCode::kUnsupported, newer);
  EXPECT_TRUE(Contains(message, "bundle format 3") && Contains(message, "newer Intaglio")) << message;
}

TEST(ManifestFromJson, RefusesWhatIsNoJsonObject) {
  for (const char* text : {"", "{", "[1]", "null", "\xff", "{} {}"}) {
    const std::string message = MessageOf(ErrorCode::kDataLoss, [&] { (void)ManifestFromJson(text, "here"); });
    EXPECT_TRUE(Contains(message, "here")) << text;
  }
}

TEST(Manifest, KeepsTheVerdictOfAGate) {
  Manifest manifest = FullManifest();
  EXPECT_FALSE(FullJson().contains("parity"));
  const double infinite = std::numeric_limits<double>::infinity();
  manifest.parity = ParityGate{.is_ok = false,
                               .capture = "caf\xc3\xa9",
                               .capture_digest = "0123",
                               .isa = "avx2",
                               .divergence_mean = 0.1,
                               .divergence_worst = infinite,
                               .first_divergence = 7,
                               .checks = {{.kind = "hidden", .count = 3, .worst = infinite, .tolerance = 2.5e-5, .is_ok = false}}};
  const ParityGate gate = ManifestFromJson(ToJson(manifest), "manifest.json").parity.value();
  EXPECT_EQ(gate.capture, manifest.parity->capture);
  EXPECT_EQ(gate.first_divergence, 7);
  EXPECT_EQ(gate.divergence_mean, 0.1);
  EXPECT_EQ(gate.divergence_worst, infinite);   // JSON has none: it is null there
  EXPECT_EQ(gate.checks.front().tolerance, 2.5e-5);
  EXPECT_EQ(gate.checks.front().worst, infinite);
  EXPECT_EQ(ToJson(ManifestFromJson(ToJson(manifest), "manifest.json")), ToJson(manifest));
}

TEST(Manifest, KeepsWhatATextSaid) {
  Manifest manifest = FullManifest();
  manifest.parity =
      ParityGate{.capture = "book.txt", .capture_digest = "0123", .isa = "avx2", .divergence_mean = 0.1, .divergence_worst = 2, .checks = {}};
  manifest.parity->text = TextAccuracy{.bundle = "a",
                                       .reference = "b",
                                       .context = 512,
                                       .windows = 3,
                                       .tokens = 765,
                                       .kl_p99 = 1.5,
                                       .top1_agreement = 0.9,
                                       .perplexity = 21,
                                       .reference_perplexity = 20};
  const TextAccuracy text = ManifestFromJson(ToJson(manifest), "manifest.json").parity.value().text.value();
  EXPECT_EQ(text.kl_mean, 0.1);
  EXPECT_EQ(text.kl_worst, 2);
  EXPECT_EQ(text.perplexity_ratio(), 1.05);
  EXPECT_EQ(ToJson(ManifestFromJson(ToJson(manifest), "manifest.json")), ToJson(manifest));
}

TEST(ManifestFromJson, RefusesAVerdictThatIsNone) {
  Manifest manifest = FullManifest();
  manifest.parity = ParityGate{.is_ok = true, .capture = "c", .capture_digest = "d", .isa = "scalar", .checks = {{.kind = "hidden", .is_ok = true}}};
  const Json json = Json::parse(ToJson(manifest));
  for (const auto& [field, value] : std::vector<std::pair<const char*, Json>>{{"/parity", 1},
                                                                              {"/parity/ok", "yes"},
                                                                              {"/parity/kl_mean", "0.5"},
                                                                              {"/parity/first_divergence", -2},
                                                                              {"/parity/checks", Json::object()},
                                                                              {"/parity/checks/0/worst", true},
                                                                              {"/parity/checks/0/count", 1.5}}) {
    Json wrong = json;
    wrong[Pointer(field)] = value;
    EXPECT_TRUE(Contains(ParseError(ErrorCode::kDataLoss, wrong), "parity")) << field;
  }
}

TEST(ManifestToJson, ASourceWithAnyNameCanBeWritten) {
  Manifest manifest = FullManifest();
  manifest.source = "caf\xe9";   // a Latin-1 file name
  EXPECT_EQ(ManifestFromJson(ToJson(manifest), "manifest.json").source, "caf\xef\xbf\xbd");
}

TEST(Manifest, OfABundleThatEmbedsSaysWhatAVectorIs) {
  Manifest manifest = FullManifest();
  EXPECT_FALSE(Json::parse(ToJson(manifest)).contains("embedding"));
  manifest.embedding = EmbeddingEntry{.dim = 96, .pooling = "lasttoken", .is_normalised = true, .needs_whole_sequences = true};
  const Json json = Json::parse(ToJson(manifest));
  EXPECT_EQ(json["task"], "embed");
  const auto read = ManifestFromJson(json.dump(), "manifest.json").embedding;
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->dim, 96);
  EXPECT_EQ(read->pooling, "lasttoken");
  EXPECT_TRUE(read->is_normalised && read->needs_whole_sequences);
  for (const char* field : {"dim", "pooling", "is_normalised", "needs_whole_sequences"}) {
    Json broken = json;
    broken["embedding"][field] = -1;
    EXPECT_TRUE(Contains(ParseError(ErrorCode::kDataLoss, broken), field));
    broken["embedding"].erase(field);
    EXPECT_TRUE(Contains(ParseError(ErrorCode::kDataLoss, broken), field));
  }
}

}  // namespace
}  // namespace intaglio::bundle
