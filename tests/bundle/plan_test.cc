#include "bundle/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/hash.h"
#include "tests/base/temporary_folder.h"
#include "tests/bundle/small_bundle.h"

namespace intaglio::bundle {
namespace {

constexpr size_t kHashBytes = 32, kVersionOffset = 8, kCountOffset = 12;

// What an attacker does: changes bytes and makes the checksum right again.
std::vector<std::byte> Resealed(std::vector<std::byte> bytes) {
  bytes.resize(bytes.size() - kHashBytes);
  const std::string hash = HashHex(bytes);
  const auto tail = std::as_bytes(std::span(hash));
  bytes.insert(bytes.end(), tail.begin(), tail.end());
  return bytes;
}

template <typename T>
std::vector<std::byte> With(std::vector<std::byte> bytes, size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
  return bytes;
}

std::string ParseError(ErrorCode code, const std::vector<std::byte>& bytes) {
  return MessageOf(code, [&] { (void)ParsePlans(bytes, "plan.bin"); });
}

bool Contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(Plans, SurviveARoundTrip) {
  const std::vector<Plan> plans = MakeSmallBundle().plans;
  EXPECT_EQ(ParsePlans(SerializePlans(plans), "plan.bin"), plans);
}

TEST(Plans, AreTheSameBytesForTheSamePlans) { EXPECT_EQ(SerializePlans(MakeSmallBundle().plans), SerializePlans(MakeSmallBundle().plans)); }

TEST(ParsePlans, NoticesEveryChangedByte) {
  const std::vector<std::byte> bytes = SerializePlans(MakeSmallBundle().plans);
  for (size_t i = 0; i < bytes.size(); ++i) {
    EXPECT_THROW((void)ParsePlans(With(bytes, i, bytes[i] ^ std::byte{1}), "plan.bin"), Error) << "byte " << i;
  }
}

TEST(ParsePlans, NoticesEveryTruncation) {
  const std::vector<std::byte> bytes = SerializePlans(MakeSmallBundle().plans);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW((void)ParsePlans(std::span(bytes).first(size), "plan.bin"), Error) << size << " bytes";
  }
}

// Sanitizers see reads outside of the bytes; a lying count must not allocate.
TEST(ParsePlans, NeverCrashesOnBytesWithARightChecksum) {
  const std::vector<std::byte> bytes = SerializePlans(MakeSmallBundle().plans);
  for (size_t i = kCountOffset; i + kHashBytes < bytes.size(); ++i) {
    for (std::byte value : {std::byte{0}, std::byte{0x7f}, std::byte{0xff}}) {
      try {
        (void)ParsePlans(Resealed(With(bytes, i, value)), "plan.bin");
      } catch (const Error& error) { EXPECT_EQ(error.code(), ErrorCode::kDataLoss) << error.what(); }
    }
  }
}

TEST(ParsePlans, ALyingCountIsAnErrorThatNamesIt) {
  const auto bytes = Resealed(With(SerializePlans(MakeSmallBundle().plans), kCountOffset, uint32_t{0xffffffff}));
  EXPECT_TRUE(Contains(ParseError(ErrorCode::kDataLoss, bytes), "a list of 4294967295 items does not fit"));
}

TEST(ParsePlans, BytesAfterTheLastPlanAreAnError) {
  std::vector<std::byte> bytes = SerializePlans(MakeSmallBundle().plans);
  bytes.insert(bytes.end() - kHashBytes, std::byte{0});
  EXPECT_TRUE(Contains(ParseError(ErrorCode::kDataLoss, Resealed(bytes)), "1 bytes follow its last plan"));
}

TEST(ParsePlans, NamesAnotherVersionAndWhatToDo) {
  const auto bytes = Resealed(With(SerializePlans(MakeSmallBundle().plans), kVersionOffset, uint32_t{7}));
  const std::string message = ParseError(ErrorCode::kUnsupported, bytes);
  EXPECT_TRUE(Contains(message, "plan.bin: plan version 7") && Contains(message, "export again")) << message;
}

TEST(ParsePlans, RefusesWhatIsNoPlan) {
  const std::string text = "{\"this\": \"is JSON\", \"and\": \"long enough to hold a header and a checksum\"}";
  const auto bytes = std::as_bytes(std::span(text));
  EXPECT_TRUE(Contains(ParseError(ErrorCode::kDataLoss, {bytes.begin(), bytes.end()}), "not a plan file"));
}

TEST(PlanToString, HasALineForEachCallWithSpacesAndSizes) {
  const std::string text = ToString(MakeSmallBundle().plans.front());
  EXPECT_EQ(std::ranges::count(text, '\n'), 4) << text;
  EXPECT_TRUE(Contains(text, "context_encoding: 4 rows, 2 outputs")) << text;
  EXPECT_TRUE(Contains(text, "matmul_f32      arena+0[2x16] arena+640[2x16] weights+64[16x16] -")) << text;
  EXPECT_TRUE(Contains(text, "kv+0[2x256]") && Contains(text, "floats 0.25,-1.5,0,3")) << text;
  EXPECT_TRUE(Contains(text, "probe hidden arena+640[2x16]")) << text;
}

}  // namespace
}  // namespace intaglio::bundle
