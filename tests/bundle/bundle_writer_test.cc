#include <gtest/gtest.h>

#include <fstream>

#include "bundle/bundle.h"
#include "tests/base/temporary_folder.h"
#include "tests/bundle/small_bundle.h"

namespace intaglio::bundle {
namespace {

namespace fs = std::filesystem;

SmallBundle BundleOf(const std::string& source) {
  SmallBundle bundle = MakeSmallBundle();
  bundle.manifest.source = source;
  return bundle;
}

std::string SourceOf(const fs::path& path) { return Bundle::Open(path).manifest.source; }

bool Contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(BundleWriter, LeavesNothingWithoutCommit) {
  const TemporaryFolder folder;
  {
    BundleWriter writer(folder.path() / "new" / "deeper" / "b", /*force=*/false);
    writer.AddFile("a", {});
    EXPECT_TRUE(fs::exists(writer.directory() / "a"));
  }
  EXPECT_EQ(folder.num_files(), 0u);
}

TEST(BundleWriter, MakesTheDirectoriesAbove) {
  const TemporaryFolder folder;
  WriteBundle(BundleOf("x"), folder.path() / "new" / "deeper" / "b");
  EXPECT_EQ(SourceOf(folder.path() / "new" / "deeper" / "b"), "x");
}

TEST(BundleWriter, AGateSeesAWholeBundleAndItsVerdictIsKept) {
  const TemporaryFolder folder;
  const fs::path target = folder.path() / "b";
  WriteBundle(BundleOf("x"), target, /*force=*/false, [&](const fs::path& bundle) {
    EXPECT_FALSE(fs::exists(target));
    return ParityGate{.is_ok = false, .capture = SourceOf(bundle), .capture_digest = {}, .isa = {}, .checks = {}};
  });
  EXPECT_EQ(Bundle::Open(target).manifest.parity.value().capture, "x");
}

TEST(BundleWriter, AGateThatThrowsLeavesNothing) {
  const TemporaryFolder folder;
  const auto gate = [](const fs::path&) -> ParityGate { throw Error(ErrorCode::kIo, "no"); };
  EXPECT_THROW(WriteBundle(BundleOf("x"), folder.path() / "b", /*force=*/false, gate), Error);
  EXPECT_EQ(folder.num_files(), 0u);
}

TEST(BundleWriter, KeepsABundleUnlessForced) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "b";
  WriteBundle(BundleOf("first"), path);
  EXPECT_TRUE(Contains(MessageOf(ErrorCode::kInvalidArgument, [&] { BundleWriter(path, /*force=*/false); }), "--force"));
  EXPECT_EQ(SourceOf(path), "first");
  WriteBundle(BundleOf("second"), path, /*force=*/true);
  EXPECT_EQ(SourceOf(path), "second");
  EXPECT_EQ(folder.num_files(), 1u);
}

TEST(BundleWriter, KeepsTheOldBundleWhenTheNewOneFails) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "b";
  WriteBundle(BundleOf("first"), path);
  {
    BundleWriter writer(path, /*force=*/true);
    writer.AddFile(PlanFile(0, 1), {});
  }
  EXPECT_EQ(SourceOf(path), "first");
  EXPECT_EQ(folder.num_files(), 1u);
}

TEST(BundleWriter, AReaderOfTheOldBundleIsNotDisturbed) {
  const TemporaryFolder folder;
  WriteBundle(BundleOf("first"), folder.path() / "b");
  const Bundle open = Bundle::Open(folder.path() / "b");
  WriteBundle(BundleOf("second"), folder.path() / "b", /*force=*/true);
  EXPECT_EQ(open.weights.bytes()[kWeightsBytes - 1], std::byte{0});
}

TEST(BundleWriter, ReplacesAnEmptyDirectory) {
  const TemporaryFolder folder;
  fs::create_directory(folder.path() / "b");
  WriteBundle(BundleOf("x"), folder.path() / "b");
  EXPECT_EQ(SourceOf(folder.path() / "b"), "x");
}

TEST(BundleWriter, NeverReplacesWhatIsNoBundle) {
  const TemporaryFolder folder;
  folder.Write("manifest.json", "{}");   // of a web page, say
  const fs::path file = folder.Write("notes.txt", "precious");
  for (const fs::path& target : {folder.path(), file}) {
    EXPECT_TRUE(Contains(MessageOf(ErrorCode::kInvalidArgument, [&] { BundleWriter(target, /*force=*/true); }), "is no bundle"));
  }
  EXPECT_EQ(ReadFile(file), "precious");
}

TEST(BundleWriter, FollowsALinkToWhereTheBundleIs) {
  const TemporaryFolder folder;
  WriteBundle(BundleOf("first"), folder.path() / "real");
  fs::create_directory_symlink(folder.path() / "real", folder.path() / "link");
  WriteBundle(BundleOf("second"), folder.path() / "link", /*force=*/true);
  EXPECT_TRUE(fs::is_symlink(folder.path() / "link"));
  EXPECT_EQ(SourceOf(folder.path() / "real"), "second");
}

TEST(BundleWriter, SaysWhereItCannotWrite) {
  const TemporaryFolder folder;
  const fs::path file = folder.Write("file", "");
  EXPECT_TRUE(Contains(MessageOf(ErrorCode::kIo, [&] { BundleWriter(file / "b", /*force=*/false); }), "cannot write here"));
  MessageOf(ErrorCode::kInvalidArgument, [] { BundleWriter("", /*force=*/false); });
}

TEST(BundleWriter, ATrailingSlashNamesTheSameBundle) {
  const TemporaryFolder folder;
  WriteBundle(BundleOf("x"), folder.path() / "b" / "");
  EXPECT_EQ(SourceOf(folder.path() / "b"), "x");
}

}  // namespace
}  // namespace intaglio::bundle
