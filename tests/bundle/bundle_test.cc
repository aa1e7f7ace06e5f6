#include "bundle/bundle.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <span>

#include "base/hash.h"
#include "tests/base/temporary_folder.h"
#include "tests/bundle/small_bundle.h"

namespace intaglio::bundle {
namespace {

namespace fs = std::filesystem;

bool Contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

std::string OpenError(ErrorCode code, const fs::path& path) {
  return MessageOf(code, [&] { (void)Bundle::Open(path); });
}

TEST(Bundle, OpensWhatWasWritten) {
  const TemporaryFolder folder;
  const SmallBundle small = MakeSmallBundle();
  WriteBundle(small, folder.path() / "b");
  const Bundle bundle = Bundle::Open(folder.path() / "b");
  EXPECT_EQ(bundle.plans, small.plans);
  EXPECT_EQ(bundle.weights.bytes().size(), kWeightsBytes);
  EXPECT_EQ(bundle.manifest.files.size(), 3u);
}

TEST(Bundle, ThatIsNotThereSaysHowToMakeIt) {
  const TemporaryFolder folder;
  EXPECT_TRUE(Contains(OpenError(ErrorCode::kNotFound, folder.path() / "b"), "intaglio export"));
}

TEST(Bundle, IsNoCheckpointFolder) {
  const TemporaryFolder folder;
  folder.Write("config.json", "{}");
  EXPECT_TRUE(Contains(OpenError(ErrorCode::kNotFound, folder.path()), "not a bundle"));
}

// Each file in turn loses a byte, changes one, and is gone.
TEST(Bundle, NamesTheDamagedFile) {
  for (const std::string name : {"plan.bin", "weights.rank0.bin", "tokenizer.json"}) {
    const TemporaryFolder folder;
    const fs::path path = folder.path() / "b", file = path / name;
    WriteBundle(MakeSmallBundle(), path);
    std::string bytes = ReadFile(file);
    bytes.back() ^= 1;
    std::ofstream(file, std::ios::binary) << bytes;
    EXPECT_TRUE(Contains(OpenError(ErrorCode::kDataLoss, path), name + ": corrupted")) << name;
    fs::resize_file(file, bytes.size() - 1);
    EXPECT_TRUE(Contains(OpenError(ErrorCode::kDataLoss, path), name)) << name;
    fs::remove(file);
    EXPECT_TRUE(Contains(OpenError(ErrorCode::kDataLoss, path), name + ": is missing")) << name;
  }
}

TEST(Bundle, OpensWithoutHashingWhenAsked) {
  const TemporaryFolder folder;
  WriteBundle(MakeSmallBundle(), folder.path() / "b");
  folder.Write("b/tokenizer.json", "zz");
  EXPECT_NO_THROW((void)Bundle::Open(folder.path() / "b", /*verify_checksums=*/false));
}

// A file that changes and keeps its time: who reads it sees that.
TEST(Bundle, ReadsALargeFileOnceToVerifyIt) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "b", file = path / "tokenizer.json";
  WriteBundle(MakeSmallBundle(), path);
  std::string bytes(2 << 20, 'x');
  Manifest manifest = Bundle::Open(path).manifest;
  manifest.files["tokenizer.json"] = {.bytes = bytes.size(), .hash = HashHex(std::as_bytes(std::span(bytes)))};
  std::ofstream(path / kManifestFile) << ToJson(manifest);
  const auto time = fs::file_time_type::clock::now() - std::chrono::hours(1);
  const auto write = [&] {
    std::ofstream(file, std::ios::binary) << bytes;
    fs::last_write_time(file, time);
  };
  write();
  const KnownHashes known(folder.path() / "cache");
  const auto open = [&](const KnownHashes& hashes) { (void)Bundle::Open(path, /*verify_checksums=*/true, /*rank=*/0, {}, hashes); };
  open(known);
  bytes.back() = 'y';
  write();
  EXPECT_NO_THROW(open(known));
  EXPECT_TRUE(Contains(MessageOf(ErrorCode::kDataLoss, [&] { open(KnownHashes()); }), "tokenizer.json: corrupted"));
}

TEST(Bundle, ReachesForNoFileOutsideOfItsDirectory) {
  for (const std::string name : {"../secret", "/etc/passwd", "..", ".", "", "a/b"}) {
    const TemporaryFolder folder;
    folder.Write("secret", "xx");
    const SmallBundle small = MakeSmallBundle();
    WriteBundle(small, folder.path() / "b");
    Manifest manifest = Bundle::Open(folder.path() / "b").manifest;
    manifest.files[name] = manifest.files.at("tokenizer.json");
    std::ofstream(folder.path() / "b" / kManifestFile) << ToJson(manifest);
    EXPECT_TRUE(Contains(OpenError(ErrorCode::kDataLoss, folder.path() / "b"), "not in the bundle's directory")) << name;
  }
}

// A bundle whose checksums are right and whose contents contradict each other.
struct Lie {
  const char* name;
  std::function<void(SmallBundle&)> tell;
  const char* found_out_by;
};

class EachLie : public testing::TestWithParam<Lie> {};

Operand& FirstWeight(SmallBundle& b) { return b.plans[0].calls[0].operands[2]; }
Operand& FirstResult(SmallBundle& b) { return b.plans[0].calls[0].operands[0]; }
Operand& FirstCache(SmallBundle& b) { return b.plans[0].calls[1].operands[0]; }

TEST_P(EachLie, IsFoundOut) {
  const TemporaryFolder folder;
  SmallBundle small = MakeSmallBundle();
  GetParam().tell(small);
  WriteBundle(small, folder.path() / "b");
  const std::string message = OpenError(ErrorCode::kDataLoss, folder.path() / "b");
  EXPECT_TRUE(Contains(message, GetParam().found_out_by) && Contains(message, "export again")) << message;
}

INSTANTIATE_TEST_SUITE_P(
    Bundle, EachLie,
    testing::Values(Lie{"OperandPastTheArena", [](SmallBundle& b) { FirstResult(b).offset = kArenaBytes - 64; }, "leaves its space of 1024"},
                    Lie{"OffsetThatWrapsAround", [](SmallBundle& b) { FirstResult(b).offset = ~uint64_t{63}; }, "leaves its space"},
                    Lie{"BytesThatWrapAround", [](SmallBundle& b) { FirstResult(b).bytes = ~uint64_t{0}; }, "leaves its space"},
                    Lie{"OperandPastTheWeights", [](SmallBundle& b) { FirstWeight(b).offset = kWeightsBytes; }, "leaves its space of 4096"},
                    Lie{"OperandPastTheKvPool", [](SmallBundle& b) { FirstCache(b).offset = 64; }, "leaves its space of 2048"},
                    Lie{"MoreRowsThanBytes", [](SmallBundle& b) { FirstResult(b).rows = 3; }, "does not fit in its 128 bytes"},
                    Lie{"RowsThatOverflow", [](SmallBundle& b) { FirstResult(b).rows = FirstResult(b).stride = int64_t{1} << 40; }, "does not fit"},
                    Lie{"QuantisedValueInTheArena", [](SmallBundle& b) { FirstResult(b).dtype = DType::kQ8_0; }, "type q8_0 is no weight"},
                    Lie{"QuantisedWeightPastTheFile",
                        [](SmallBundle& b) { FirstWeight(b).dtype = DType::kInt4G64, FirstWeight(b).bytes = kWeightsBytes + 1; },
                        "leaves the weights"},
                    Lie{"QuantisedLogits", [](SmallBundle& b) { b.plans[0].logits.dtype = DType::kQ4_K; }, "is no weight"},
                    Lie{"NoRows", [](SmallBundle& b) { FirstResult(b).rows = 0; }, "operand of 0 x 16"},
                    Lie{"NegativeColumns", [](SmallBundle& b) { FirstResult(b).cols = -1; }, "2 x -1"},
                    Lie{"StrideBelowColumns", [](SmallBundle& b) { FirstResult(b).stride = 15; }, "with stride 15"},
                    Lie{"UnalignedWeight", [](SmallBundle& b) { FirstWeight(b).offset = 68; }, "not aligned"},
                    Lie{"UnalignedArenaValue", [](SmallBundle& b) { FirstResult(b).offset = 2; }, "not aligned"},
                    Lie{"ProbePastTheArena", [](SmallBundle& b) { b.plans[1].probes[0].operand.offset = 1000; }, "hidden: operand at 1000"},
                    Lie{"LargerArenaThanPlanned", [](SmallBundle& b) { b.manifest.memory.arena = 960; }, "the memory plan 960"},
                    Lie{"LogitsElsewhere", [](SmallBundle& b) { b.plans[0].logits = FirstWeight(b); }, "logits of 16 x 16"},
                    Lie{"FewerLogitsThanWords", [](SmallBundle& b) { b.manifest.vocab_size = 17; }, "expected 17 columns"},
                    Lie{"NoIds", [](SmallBundle& b) { b.plans[0].ids = {}; }, "ids of 0 x 0"},
                    Lie{"AnotherWeightsFile", [](SmallBundle& b) { b.manifest.memory.weights += 1; }, "4097 bytes of weights"},
                    Lie{"WeightPastTheFile", [](SmallBundle& b) { b.manifest.weights[0].bytes = 4096; }, "lm_head.weight of 4096 bytes"},
                    Lie{"WeightWithoutAShape", [](SmallBundle& b) { b.manifest.weights[0].shape = {16, 0}; }, "has shape [16, 0]"},
                    Lie{"KvLayerOfNoGroup", [](SmallBundle& b) { b.manifest.kv_layers[0].group = 1; }, "in group 1 of 1"},
                    Lie{"NoKvGroups", [](SmallBundle& b) { b.manifest.kv_groups.clear(); }, "no KV groups"},
                    Lie{"KvLayersThatLeaveAGap", [](SmallBundle& b) { b.manifest.kv_layers[0].offset = 64; }, "do not tile"},
                    Lie{"KvLayersThatLeaveARest", [](SmallBundle& b) { b.manifest.kv_layers[0].bytes = 1024; }, "take 1024 bytes"},
                    Lie{"BucketWithoutAPlan", [](SmallBundle& b) { b.manifest.prefill_buckets = {4, 8}; }, "no plan of context_encoding with 8 rows"},
                    Lie{"SpeculationWithoutAPlan", [](SmallBundle& b) { b.manifest.speculation = 3; }, "no plan of speculation with 8 rows"},
                    Lie{"NoBuckets", [](SmallBundle& b) { b.manifest.batch_buckets.clear(); }, "lists no buckets"},
                    Lie{"NoPlans", [](SmallBundle& b) { b.plans.clear(); }, "has no plans"}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace intaglio::bundle
