// The compile cache: keys, hits and what is no hit.
#include "intaglio/cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <fstream>

#include "tests/base/temporary_folder.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;

class CacheTest : public ::testing::Test {
 protected:
  CacheTest() {
    fs::copy(fs::path(INTAGLIO_SOURCE_DIR) / "tests/fixtures/llama-tiny", source_);
    options_.source = source_;
    options_.max_context = 128;
    options_.prefill_buckets = {16};
    options_.batch_buckets = {1};
    options_.cache = cache_.directory();
  }
  ExportReport ExportTo(const std::string& name) {
    options_.output = folder_.path() / name;
    return Export(options_);
  }
  // The one file of the only entry.
  fs::path Stored(const std::string& name) const { return cache_.Entries().at(0).bundle / name; }
  void MakeOld(const fs::path& path, int hours) const { fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(hours)); }

  const TemporaryFolder folder_;
  const fs::path source_ = folder_.path() / "llama-tiny";
  const CompileCache cache_{folder_.path() / "cache"};
  ExportOptions options_;
};

std::map<std::string, std::string> FilesOf(const fs::path& bundle) {
  std::map<std::string, std::string> files;
  for (const fs::directory_entry& file : fs::directory_iterator(bundle)) files[file.path().filename().string()] = ReadFile(file.path());
  return files;
}

TEST_F(CacheTest, TheSameExportIsAHitWithTheSameBytes) {
  EXPECT_FALSE(ExportTo("a").is_from_cache);
  const ExportReport again = ExportTo("b");
  EXPECT_TRUE(again.is_from_cache);
  EXPECT_EQ(FilesOf(folder_.path() / "a"), FilesOf(folder_.path() / "b"));
  EXPECT_EQ(cache_.LookUp(options_).entry.value().key, again.cache_key);
}

TEST_F(CacheTest, AHitReportsWhatTheExportDid) {
  std::ofstream(source_ / "generation_config.json") << R"({"eos_token_id": 7})";
  const ExportReport made = ExportTo("a"), taken = ExportTo("b");
  EXPECT_EQ(made.notes, taken.notes);
  EXPECT_EQ(made.weights_bytes, taken.weights_bytes);
  EXPECT_EQ(made.arena_bytes, taken.arena_bytes);
  EXPECT_GT(taken.arena_bytes, 0u);
}

TEST_F(CacheTest, AHitKeepsABundleThatIsThere) {
  (void)ExportTo("a");
  EXPECT_NE(MessageOf(ErrorCode::kInvalidArgument, [&] { (void)ExportTo("a"); }).find("--force"), std::string::npos);
}

TEST_F(CacheTest, EveryOptionThatDecidesBytesChangesTheKey) {
  const auto changes = [&](const std::function<void(ExportOptions&)>& change) {
    ExportOptions changed = options_;
    change(changed);
    return cache_.LookUp(changed).key != cache_.LookUp(options_).key;
  };
  EXPECT_TRUE(changes([](ExportOptions& o) { o.task = "generate"; }));
  EXPECT_TRUE(changes([](ExportOptions& o) { o.weights = "bf16"; }));
  EXPECT_TRUE(changes([](ExportOptions& o) { o.group = 64; }));
  EXPECT_TRUE(changes([](ExportOptions& o) { o.keep = {"lm_head=int8"}; }));
  EXPECT_TRUE(changes([](ExportOptions& o) { o.dequantize = true; }));
  EXPECT_TRUE(changes([](ExportOptions& o) { o.kv_dtype = "bf16"; }));
  EXPECT_TRUE(changes([](ExportOptions& o) { o.max_context = 64; }));
  EXPECT_TRUE(changes([](ExportOptions& o) { o.max_batch = 2; }));
  EXPECT_TRUE(changes([](ExportOptions& o) { o.prefill_buckets = {16, 32}; }));
  EXPECT_TRUE(changes([](ExportOptions& o) { o.batch_buckets = {1, 2}; }));
  EXPECT_TRUE(changes([](ExportOptions& o) { o.capacity_factor = 1.5; }));
  EXPECT_TRUE(changes([](ExportOptions& o) { o.tp_degree = 2; }));
  EXPECT_TRUE(changes([](ExportOptions& o) { o.ep_degree = 1; }));
  EXPECT_TRUE(changes([](ExportOptions& o) { o.expert_dispatch = "reduce"; }));
  EXPECT_TRUE(changes([](ExportOptions& o) { o.speculation = 1; }));
  EXPECT_TRUE(changes([](ExportOptions& o) { o.keep_probes = true; }));
  EXPECT_FALSE(changes([](ExportOptions& o) { o.output = "elsewhere", o.force = true; }));
}

TEST_F(CacheTest, EveryFileOfTheCheckpointChangesTheKey) {
  const std::string before = cache_.LookUp(options_).key;
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}) {
    const fs::path file = source_ / name;
    const std::string text = fs::exists(file) ? ReadFile(file) : "";
    std::ofstream(file, std::ios::app | std::ios::binary) << ' ';
    EXPECT_NE(cache_.LookUp(options_).key, before) << name;
    text.empty() ? void(fs::remove(file)) : void(std::ofstream(file, std::ios::binary) << text);
  }
  EXPECT_EQ(cache_.LookUp(options_).key, before);
}

// The manifest names the checkpoint.
TEST_F(CacheTest, ACopyOfTheCheckpointIsAHitUnderTheSameNameOnly) {
  const std::string before = cache_.LookUp(options_).key;
  fs::create_directory(folder_.path() / "elsewhere");
  for (const auto& [path, is_same] : {std::pair{folder_.path() / "elsewhere/llama-tiny", true}, {folder_.path() / "other", false}}) {
    fs::copy(source_, path);
    options_.source = path;
    EXPECT_EQ(cache_.LookUp(options_).key == before, is_same) << path;
  }
}

TEST_F(CacheTest, AnEntryWhoseFileChangedIsNone) {
  for (const char* name : {"weights.rank0.bin", "plan.bin", "manifest.json"}) {
    (void)ExportTo(std::string("a") + name);
    std::ofstream(Stored(name), std::ios::app) << 'x';
    EXPECT_FALSE(cache_.LookUp(options_).entry.has_value());
    EXPECT_EQ(cache_.Status().num_damaged, 1u);
    EXPECT_FALSE(ExportTo(std::string("b") + name).is_from_cache) << name;
    EXPECT_TRUE(ExportTo(std::string("c") + name).is_from_cache) << name;
  }
}

TEST_F(CacheTest, ABundleThatIsEditedDoesNotChangeTheEntry) {
  (void)ExportTo("a");
  std::ofstream(folder_.path() / "a/tokenizer_config.json") << "{}";
  EXPECT_TRUE(ExportTo("b").is_from_cache);
  EXPECT_NE(ReadFile(folder_.path() / "b/tokenizer_config.json"), "{}");
}

TEST_F(CacheTest, AFailedExportLeavesNoEntry) {
  fs::resize_file(source_ / "model.safetensors", 1000);
  EXPECT_THROW((void)ExportTo("a"), Error);
  EXPECT_TRUE(cache_.Entries().empty());
  EXPECT_EQ(cache_.Status().num_unfinished, 0u);
}

TEST_F(CacheTest, ACacheThatCannotBeWrittenIsANote) {
  options_.cache = folder_.Write("file", "");
  const ExportReport report = ExportTo("a");
  EXPECT_TRUE(fs::exists(folder_.path() / "a/manifest.json"));
  EXPECT_TRUE(std::ranges::any_of(report.notes, [](const std::string& note) { return note.find("not in the cache") != std::string::npos; }));
}

TEST_F(CacheTest, AnExportThatIsJudgedIsAlwaysMade) {
  (void)ExportTo("a");
  options_.gate = [](const fs::path&) {
    ParityGate gate;
    gate.is_ok = true;
    return gate;
  };
  EXPECT_FALSE(ExportTo("b").is_from_cache);
  options_.gate = nullptr;
  EXPECT_EQ(ReadFile(Stored("manifest.json")), ReadFile(folder_.path() / "a/manifest.json"));
}

TEST_F(CacheTest, TheNearestEntryHasMostInCommon) {
  (void)ExportTo("a");
  options_.max_context = 64, options_.batch_buckets = {1, 2};
  (void)ExportTo("b");
  options_.max_context = 32;
  const CacheLookup lookup = cache_.LookUp(options_);
  EXPECT_FALSE(lookup.entry.has_value());
  const CacheEntry nearest = cache_.Nearest(lookup.fields).value();
  EXPECT_NE(std::ranges::find(nearest.fields, CacheField{"max_context", "64"}), nearest.fields.end());
}

TEST_F(CacheTest, PruneKeepsWhatWasUsedLast) {
  const std::string first = ExportTo("a").cache_key;
  MakeOld(Stored("..") / "entry.json", 48);
  options_.max_context = 64;
  const std::string second = ExportTo("b").cache_key;
  const uint64_t bytes = cache_.Entries().at(0).bytes;
  EXPECT_EQ(cache_.Prune({.max_bytes = 2 * bytes + 100'000}).num_removed, 0u);
  EXPECT_EQ(cache_.Prune({.older_than = 3600}).num_removed, 1u);
  ASSERT_EQ(cache_.Entries().size(), 1u);
  EXPECT_EQ(cache_.Entries().at(0).key, second);
  EXPECT_EQ(cache_.Prune({.max_bytes = 1, .keep = second}).num_removed, 0u);
  EXPECT_EQ(cache_.Prune({.max_bytes = 1}).num_removed, 1u);
  EXPECT_TRUE(fs::exists(folder_.path() / "b/weights.rank0.bin"));
}

// Of a process that there is not: no Linux has so many.
TEST_F(CacheTest, PruneRemovesWhatACrashLeftAndNoSooner) {
  const fs::path left = cache_.directory() / "entries/.new-00-999999999-0";
  fs::create_directories(left);
  EXPECT_EQ(cache_.Status().num_unfinished, 1u);
  (void)cache_.Prune({});
  EXPECT_TRUE(fs::exists(left));
  MakeOld(left, 2);
  (void)cache_.Prune({});
  EXPECT_FALSE(fs::exists(left));
}

TEST_F(CacheTest, AnEntryTravels) {
  const std::string key = ExportTo("a").cache_key;
  const fs::path folder = folder_.path() / "entry";
  cache_.ExportEntry(key.substr(0, 6), folder);
  const CompileCache other(folder_.path() / "other");
  EXPECT_EQ(other.ImportEntry(folder), key);
  options_.cache = other.directory();
  EXPECT_TRUE(ExportTo("b").is_from_cache);
}

TEST_F(CacheTest, ADamagedEntryIsNotImported) {
  const std::string key = ExportTo("a").cache_key;
  const fs::path folder = folder_.path() / "entry", plan = folder / "bundle/plan.bin";
  cache_.ExportEntry(key, folder);
  std::string bytes = ReadFile(plan);
  bytes.back() ^= 1;
  std::ofstream(plan, std::ios::binary) << bytes;
  const CompileCache other(folder_.path() / "other");
  EXPECT_NE(MessageOf(ErrorCode::kDataLoss, [&] { (void)other.ImportEntry(folder); }).find("plan.bin: corrupted"), std::string::npos);
  EXPECT_TRUE(other.Entries().empty());
  fs::remove(folder / "entry.json");
  EXPECT_NE(MessageOf(ErrorCode::kDataLoss, [&] { (void)other.ImportEntry(folder); }).find("entry.json"), std::string::npos);
}

TEST_F(CacheTest, ExportNamesAKeyThatIsNotThere) {
  EXPECT_NE(MessageOf(ErrorCode::kNotFound, [&] { cache_.ExportEntry("abc", folder_.path() / "x"); }).find("abc"), std::string::npos);
}

}  // namespace
}  // namespace intaglio
