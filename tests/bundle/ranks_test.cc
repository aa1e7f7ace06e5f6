// A bundle for two ranks: each opens its own part of it, and what the manifest says of the ranks is checked.
#include <gtest/gtest.h>

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/base/temporary_folder.h"
#include "tests/bundle/small_bundle.h"

namespace intaglio::bundle {
namespace {

using Json = nlohmann::ordered_json;

// Both ranks hold what the small bundle's one does, but for the vocabulary, of which each has a half.
Manifest TwoRanks(const SmallBundle& small) {
  Manifest manifest = small.manifest;
  manifest.format_version = 2;
  manifest.tp_degree = manifest.ep_degree = 2;
  for (int64_t rank = 0; rank < 2; ++rank) {
    RankEntry& entry = manifest.ranks.emplace_back(small.manifest);
    entry.vocab_begin = 8 * rank, entry.vocab_end = 8 * (rank + 1);
    entry.memory.tokenizer = rank == 0 ? 12 : 0;
  }
  return manifest;
}

void Write(const SmallBundle& small, const Manifest& manifest, const std::filesystem::path& path) {
  BundleWriter writer(path, /*force=*/true);
  for (int rank = 0; rank < 2; ++rank) {
    writer.AddFile(PlanFile(rank, 2), SerializePlans(small.plans));
    writer.AddFile(WeightsFile(rank), std::vector<std::byte>(kWeightsBytes, std::byte(rank)));
  }
  writer.Commit(manifest);
}

class Ranks : public testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path path() const { return folder_.path() / "b"; }
  [[nodiscard]] std::string OpenError(ErrorCode code, const Manifest& manifest, int rank = 0) const {
    Write(small_, manifest, path());
    return MessageOf(code, [&] { (void)Bundle::Open(path(), /*verify_checksums=*/true, rank); });
  }

  TemporaryFolder folder_;
  SmallBundle small_ = MakeSmallBundle();
  Manifest manifest_ = TwoRanks(small_);
};

TEST_F(Ranks, OpenTheirOwnPart) {
  Write(small_, manifest_, path());
  for (int rank = 0; rank < 2; ++rank) {
    const Bundle bundle = Bundle::Open(path(), /*verify_checksums=*/true, rank);
    EXPECT_EQ(bundle.rank, rank);
    EXPECT_EQ(bundle.manifest.vocab_begin, 8 * rank);
    EXPECT_EQ(bundle.manifest.memory.tokenizer, rank == 0 ? 12u : 0u);
    EXPECT_EQ(bundle.manifest.ranks.size(), 2u);
    EXPECT_EQ(bundle.weights.bytes()[0], std::byte(rank));
    EXPECT_EQ(bundle.plans, small_.plans);
    EXPECT_EQ(ToJson(bundle.manifest), ToJson(ManifestFromJson(ToJson(bundle.manifest), "again", rank)));
  }
}

TEST_F(Ranks, DoNotReadEachOthersFiles) {
  Write(small_, manifest_, path());
  std::filesystem::remove(path() / WeightsFile(1));
  EXPECT_NO_THROW((void)Bundle::Open(path()));
  EXPECT_NE(MessageOf(ErrorCode::kDataLoss, [&] { (void)Bundle::Open(path(), true, 1); }).find("weights.rank1.bin: is missing"), std::string::npos);
}

TEST_F(Ranks, AreAsManyAsTheManifestSays) {
  EXPECT_NE(OpenError(ErrorCode::kInvalidArgument, manifest_, 2).find("has 2 ranks, and none numbered 2"), std::string::npos);
  manifest_.ranks.pop_back();
  EXPECT_NE(OpenError(ErrorCode::kDataLoss, manifest_).find("lists 1 ranks, but tp_degree is 2"), std::string::npos);
}

TEST_F(Ranks, ShareOutTheWholeVocabulary) {
  manifest_.ranks[1].vocab_begin = 9;
  EXPECT_NE(OpenError(ErrorCode::kDataLoss, manifest_).find("leave a gap at 8"), std::string::npos);
  manifest_.ranks[1].vocab_begin = 8, manifest_.ranks[1].vocab_end = 15;
  EXPECT_NE(OpenError(ErrorCode::kDataLoss, manifest_).find("have 15 ids of a vocabulary of 16"), std::string::npos);
}

TEST_F(Ranks, NameTheFieldThatIsMissing) {
  Json json = Json::parse(ToJson(manifest_));
  json["ranks"][1].erase("memory");
  const std::string message = MessageOf(ErrorCode::kDataLoss, [&] { (void)ManifestFromJson(json.dump(), "manifest.json"); });
  EXPECT_NE(message.find("ranks[1]: the field \"memory\" is missing"), std::string::npos) << message;
}

}  // namespace
}  // namespace intaglio::bundle
