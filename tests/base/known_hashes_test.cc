#include "base/known_hashes.h"

#include <gtest/gtest.h>

#include <chrono>

#include "base/hash.h"
#include "tests/base/temporary_folder.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;

class KnownHashesTest : public ::testing::Test {
 protected:
  // A file that was modified so long ago that a change would show.
  fs::path OldFile(const std::string& text) {
    const fs::path file = folder_.Write("file", text);
    fs::last_write_time(file, fs::file_time_type::clock::now() - std::chrono::hours(++hours_));
    return file;
  }
  void Remember(const fs::path& file) { known_.Remember(file, KnownHashes::Identify(file), HashFile(file)); }

  TemporaryFolder folder_;
  KnownHashes known_{folder_.path() / "cache"};

 private:
  int hours_ = 0;
};

TEST_F(KnownHashesTest, KnowAFileThatHasNotChanged) {
  const fs::path file = OldFile("engraved");
  EXPECT_EQ(known_.Find(KnownHashes::Identify(file)), std::nullopt);
  Remember(file);
  EXPECT_EQ(KnownHashes(folder_.path() / "cache").Find(KnownHashes::Identify(file)), HashFile(file));
}

TEST_F(KnownHashesTest, DoNotKnowAFileThatWasWrittenAgain) {
  Remember(OldFile("engraved"));
  EXPECT_EQ(known_.Find(KnownHashes::Identify(OldFile("ENGRAVED"))), std::nullopt);
}

TEST_F(KnownHashesTest, FollowAFileToItsOtherNames) {
  const fs::path file = OldFile("engraved"), link = folder_.path() / "link";
  Remember(file);
  fs::create_hard_link(file, link);
  EXPECT_EQ(known_.Find(KnownHashes::Identify(link)), HashFile(file));
}

TEST_F(KnownHashesTest, DoNotRememberAFileThatChangedWhileItWasRead) {
  const std::string before = KnownHashes::Identify(OldFile("engraved"));
  const fs::path file = OldFile("ENGRAVED");
  known_.Remember(file, before, HashFile(file));
  EXPECT_EQ(known_.Find(before), std::nullopt);
}

TEST_F(KnownHashesTest, CannotIdentifyAFileThatWasWrittenJustNow) { EXPECT_EQ(KnownHashes::Identify(folder_.Write("new", "x")), ""); }

TEST_F(KnownHashesTest, AreNotThereForAFolder) { EXPECT_EQ(KnownHashes::Identify(folder_.path()), ""); }

TEST_F(KnownHashesTest, DoWithoutADirectoryThatCannotBeMade) {
  const fs::path file = OldFile("engraved");
  const KnownHashes known(file);   // a folder below a file
  known.Remember(file, KnownHashes::Identify(file), HashFile(file));
  EXPECT_EQ(known.Find(KnownHashes::Identify(file)), std::nullopt);
}

TEST_F(KnownHashesTest, IgnoreWhatIsNoHash) {
  const fs::path file = OldFile("engraved");
  Remember(file);
  folder_.Write("cache/hashes/" + KnownHashes::Identify(file), "half a ha");
  EXPECT_EQ(known_.Find(KnownHashes::Identify(file)), std::nullopt);
}

}  // namespace
}  // namespace intaglio
