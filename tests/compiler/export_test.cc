#include "intaglio/export.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "base/safetensors_writer.h"
#include "bundle/bundle.h"
#include "tests/base/temporary_folder.h"
#include "tests/compiler/fixture_model.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;
using bundle::Bundle;
using compiler::FixturePath;

ExportOptions OptionsFor(const fs::path& source, const fs::path& output) {
  ExportOptions options;
  options.source = source;
  options.output = output;
  options.prefill_buckets = {16};
  options.batch_buckets = {1, 2};
  options.speculation = 2;
  return options;
}

std::map<std::string, std::string> Contents(const fs::path& folder) {
  std::map<std::string, std::string> contents;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) contents[entry.path().filename()] = ReadFile(entry.path());
  return contents;
}

// A copy of a fixture whose config.json has other values.
fs::path WithConfig(const TemporaryFolder& folder, const std::string& fixture, const nlohmann::json& changes) {
  const fs::path path = folder.path() / "checkpoint";
  fs::copy(FixturePath(fixture), path);
  auto config = nlohmann::json::parse(ReadFile(path / "config.json"));
  config.update(changes);
  folder.Write("checkpoint/config.json", config.dump());
  return path;
}

bool Contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

class EachExport : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Export, EachExport, testing::ValuesIn(compiler::kFixtures), [](const auto& info) { return compiler::TestName(info.param); });

TEST_P(EachExport, GivesABundleThatOpensAndIsWhatItReports) {
  for (const char* dtype : {"f32", "bf16"}) {
    const TemporaryFolder folder;
    ExportOptions options = OptionsFor(FixturePath(GetParam()), folder.path() / "b");
    options.weights = dtype;
    const ExportReport report = Export(options);
    const Bundle bundle = Bundle::Open(folder.path() / "b");
    EXPECT_EQ(bundle.plans.size(), 5u);
    EXPECT_EQ(bundle.manifest.weight_format, dtype);
    EXPECT_EQ(report.weights_bytes, fs::file_size(folder.path() / "b" / "weights.rank0.bin"));
    EXPECT_EQ(report.kv_cache_bytes, bundle.manifest.memory.kv_cache);
    EXPECT_EQ(report.arena_bytes, std::ranges::max(bundle.plans, {}, &bundle::Plan::arena_bytes).arena_bytes);
    EXPECT_TRUE(report.notes.empty()) << report.notes.front();
  }
}

TEST_P(EachExport, GivesTheSameBytesEachTime) {
  const TemporaryFolder first, second;
  (void)Export(OptionsFor(FixturePath(GetParam()), first.path() / "one"));
  (void)Export(OptionsFor(FixturePath(GetParam()) + "/", second.path() / "two"));
  EXPECT_EQ(Contents(first.path() / "one"), Contents(second.path() / "two"));
}

TEST(Export, TakesCompanionFilesAlongUnchanged) {
  const TemporaryFolder folder;
  (void)Export(OptionsFor(FixturePath("gemma3-text-tiny"), folder.path() / "b"));
  const auto contents = Contents(folder.path() / "b");
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
    EXPECT_EQ(contents.at(name), ReadFile(fs::path(FixturePath("gemma3-text-tiny")) / name)) << name;
  }
  EXPECT_TRUE(Contains(contents.at("graph.txt"), "speculation graph: 6 rows"));
}

TEST(Export, HoldsNoPathOfTheMachine) {
  const TemporaryFolder folder;
  (void)Export(OptionsFor(FixturePath("llama-tiny"), folder.path() / "b"));
  for (const auto& [name, contents] : Contents(folder.path() / "b")) {
    EXPECT_FALSE(Contains(contents, folder.path().string())) << name;
    EXPECT_FALSE(Contains(contents, INTAGLIO_SOURCE_DIR)) << name;
  }
}

TEST(Export, TakesStopIdsFromTheGenerationConfigFirst) {
  const TemporaryFolder folder;
  const fs::path source = WithConfig(folder, "llama-tiny", {{"eos_token_id", 7}, {"bos_token_id", 3}});
  folder.Write("checkpoint/generation_config.json", R"({"eos_token_id": [8, 9]})");
  (void)Export(OptionsFor(source, folder.path() / "a"));
  EXPECT_EQ(Bundle::Open(folder.path() / "a").manifest.eos_ids, (std::vector<int32_t>{8, 9}));
  EXPECT_EQ(Bundle::Open(folder.path() / "a").manifest.bos_id, 3);
  folder.Write("checkpoint/generation_config.json", "{}");
  (void)Export(OptionsFor(source, folder.path() / "b"));
  EXPECT_EQ(Bundle::Open(folder.path() / "b").manifest.eos_ids, (std::vector<int32_t>{7}));
}

TEST(Export, NotesTensorsThatNoLayerUses) {
  const TemporaryFolder folder;
  fs::copy(FixturePath("llama-tiny"), folder.path() / "checkpoint");
  const auto original = checkpoint::Checkpoint::Open(FixturePath("llama-tiny"));
  std::vector<std::vector<float>> storage;
  std::vector<NamedTensor> tensors;
  std::vector<std::string> names = original->tensor_names();
  names.insert(names.end(), {"model.surprise.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"});
  for (const std::string& name : names) {
    const Shape shape = original->has(name) ? original->shape(name) : Shape{1};
    storage.emplace_back(static_cast<size_t>(shape.num_elements()));
    tensors.push_back({name, {.dtype = DType::kF32, .shape = shape, .bytes = {}}});
  }
  for (size_t i = 0; i < names.size(); ++i) tensors[i].tensor.bytes = std::as_bytes(std::span(storage[i]));
  WriteSafetensors(folder.path() / "checkpoint/model.safetensors", tensors);
  const ExportReport report = Export(OptionsFor(folder.path() / "checkpoint", folder.path() / "b"));
  EXPECT_EQ(report.notes, std::vector<std::string>{"tensor model.surprise.weight of the checkpoint is not used"});
}

TEST(Export, SaysWhichTensorDisagreesWithTheConfig) {
  const TemporaryFolder folder;
  const fs::path source = WithConfig(folder, "llama-tiny", {{"intermediate_size", 144}});
  const std::string message = MessageOf(ErrorCode::kDataLoss, [&] { (void)Export(OptionsFor(source, folder.path() / "b")); });
  EXPECT_TRUE(Contains(message, "gate_proj.weight is [") && Contains(message, "config.json implies [144, ")) << message;
}

TEST(Export, SaysWhichTensorIsMissing) {
  const TemporaryFolder folder;
  const fs::path source = WithConfig(folder, "llama-tiny", {{"num_hidden_layers", 9}});
  const std::string message = MessageOf(ErrorCode::kNotFound, [&] { (void)Export(OptionsFor(source, folder.path() / "b")); });
  EXPECT_TRUE(Contains(message, "model.layers.")) << message;
}

// Whatever step it is interrupted at: nothing is left, and what was there before is untouched.
TEST(Export, InterruptedAnywhereLeavesEverythingAsItWas) {
  struct Interrupt {};
  const TemporaryFolder folder;
  ExportOptions options = OptionsFor(FixturePath("llama-tiny"), folder.path() / "b");
  (void)Export(options);
  const auto before = Contents(folder.path() / "b");
  options.source = FixturePath("qwen3-tiny");
  options.force = true;
  int num_steps = 0;
  options.on_progress = [&](const ExportProgress&) { ++num_steps; };
  options.output = folder.path() / "other";
  (void)Export(options);
  ASSERT_GE(num_steps, 5);
  fs::remove_all(options.output);
  options.output = folder.path() / "b";
  for (int stop_at = 1; stop_at <= num_steps; ++stop_at) {
    int step = 0;
    options.on_progress = [&](const ExportProgress&) {
      if (++step == stop_at) throw Interrupt();
    };
    EXPECT_THROW((void)Export(options), Interrupt) << stop_at;
    EXPECT_EQ(folder.num_files(), 1u) << stop_at;
  }
  EXPECT_EQ(Contents(folder.path() / "b"), before);
}

TEST(Export, OfAFileTooLargeForTheDiskLeavesNothing) {
  const TemporaryFolder folder;
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tight{.rlim_cur = 100'000, .rlim_max = old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &tight);
  const std::string message = MessageOf(ErrorCode::kIo, [&] { (void)Export(OptionsFor(FixturePath("llama-tiny"), folder.path() / "b")); });
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_TRUE(Contains(message, "cannot write")) << message;
  EXPECT_EQ(folder.num_files(), 0u);
}

TEST(Export, RefusesATakenPlaceBeforeItReadsWeights) {
  const TemporaryFolder folder;
  folder.Write("precious", "x");
  ExportOptions options = OptionsFor(FixturePath("llama-tiny"), folder.path());
  std::string last_stage;
  options.on_progress = [&](const ExportProgress& progress) { last_stage = progress.stage; };
  EXPECT_TRUE(Contains(MessageOf(ErrorCode::kInvalidArgument, [&] { (void)Export(options); }), "is no bundle"));
  EXPECT_EQ(last_stage, "reading");
  EXPECT_EQ(folder.num_files(), 1u);
}

TEST(Export, KeepsProbesForParityTests) {
  const TemporaryFolder folder;
  ExportOptions options = OptionsFor(FixturePath("llama-tiny"), folder.path() / "b");
  options.keep_probes = true;
  (void)Export(options);
  for (const bundle::Plan& plan : Bundle::Open(folder.path() / "b").plans) EXPECT_FALSE(plan.probes.empty());
}

}  // namespace
}  // namespace intaglio
