// MappedFile and OutputFile.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <thread>
#include <vector>

#include "base/mapped_file.h"
#include "base/output_file.h"
#include "tests/base/temporary_folder.h"

namespace intaglio {
namespace {

std::string Text(const MappedFile& file) { return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}; }

TEST(MappedFile, ShowsTheBytesOfTheFile) {
  const TemporaryFolder folder;
  EXPECT_EQ(Text(MappedFile(folder.Write("a", "engraved"))), "engraved");
}

TEST(MappedFile, KeepsItsAddressWhenMoved) {
  const TemporaryFolder folder;
  MappedFile file(folder.Write("a", "engraved"));
  const auto* address = file.bytes().data();
  const MappedFile moved = std::move(file);
  EXPECT_EQ(moved.bytes().data(), address);
}

TEST(MappedFile, OfAnEmptyFileIsEmpty) {
  const TemporaryFolder folder;
  const MappedFile file(folder.Write("a", ""));
  file.Prefault();
  EXPECT_TRUE(file.bytes().empty());
}

TEST(MappedFile, NamesAMissingFile) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "nowhere";
  EXPECT_NE(MessageOf(ErrorCode::kNotFound, [&] { MappedFile{path}; }).find("nowhere"), std::string::npos);
}

TEST(MappedFile, RefusesAFolder) {
  const TemporaryFolder folder;
  EXPECT_NE(MessageOf(ErrorCode::kInvalidArgument, [&] { MappedFile{folder.path()}; }).find("not a regular file"), std::string::npos);
}

TEST(OutputFile, AppearsOnlyWhenCommitted) {
  const TemporaryFolder folder;
  OutputFile file(folder.path() / "a");
  file.Write("engraved");
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "a"));
  file.Commit();
  EXPECT_EQ(ReadFile(folder.path() / "a"), "engraved");
  EXPECT_EQ(folder.num_files(), 1u);
}

TEST(OutputFile, LeavesNothingWithoutCommit) {
  const TemporaryFolder folder;
  { OutputFile(folder.path() / "a").Write("engraved"); }
  EXPECT_EQ(folder.num_files(), 0u);
}

TEST(OutputFile, LeavesTheOldFileWithoutCommit) {
  const TemporaryFolder folder;
  const auto path = folder.Write("a", "old");
  { OutputFile(path).Write("new"); }
  EXPECT_EQ(ReadFile(path), "old");
}

TEST(OutputFile, TakesDisjointRangesFromSeveralThreads) {
  const TemporaryFolder folder;
  OutputFile file(folder.path() / "a");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&file, i] {
      const std::string text(1000, static_cast<char>('a' + i));
      file.WriteAt(static_cast<uint64_t>(i) * 1000, std::as_bytes(std::span(text)));
    });
  }
  for (auto& thread : threads) thread.join();
  file.Commit();
  EXPECT_EQ(ReadFile(folder.path() / "a"), std::string(1000, 'a') + std::string(1000, 'b') + std::string(1000, 'c') + std::string(1000, 'd'));
}

TEST(OutputFile, SaysWhereItCannotWrite) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "no-such-folder" / "a";
  EXPECT_NE(MessageOf(ErrorCode::kIo, [&] { OutputFile{path}; }).find("no-such-folder"), std::string::npos);
}

// A limit on file size stands in for a full disk: both make write() fail part of the way.
TEST(OutputFile, LeavesNothingWhenThereIsNoRoom) {
  const TemporaryFolder folder;
  rlimit unlimited{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
  rlimit small = unlimited;
  small.rlim_cur = 4096;
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message = MessageOf(ErrorCode::kIo, [&] { OutputFile(folder.path() / "a").Write(std::string(10000, 'x')); });
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_NE(message.find("cannot write"), std::string::npos) << message;
  EXPECT_EQ(folder.num_files(), 0u);
}

TEST(OutputFile, SaysThatTheDiskIsFull) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "a full disk is played by /dev/full, a device of Linux that this system does not have";
  const TemporaryFolder folder;
  const auto path = folder.path() / "a";
  // The temporary name is the final one with the process's id: let it lead to the device that is always full.
  std::filesystem::create_symlink("/dev/full", path.string() + ".tmp" + std::to_string(getpid()));
  const std::string message = MessageOf(ErrorCode::kResourceExhausted, [&] { OutputFile(path).Write("x"); });
  EXPECT_NE(message.find("No space left"), std::string::npos) << message;
}

}  // namespace
}  // namespace intaglio
