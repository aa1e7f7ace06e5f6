#include "collectives/tree_sum.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/collectives/groups.h"

namespace intaglio::collectives {
namespace {

std::vector<float> Sum(const std::vector<std::vector<float>>& terms, int64_t begin, int64_t count) {
  std::vector<const float*> pointers;
  for (const std::vector<float>& term : terms) pointers.push_back(term.data());
  std::vector<float> sum(static_cast<size_t>(count));
  TreeSum(pointers, begin, count, sum.data());
  return sum;
}

TEST(TreeSum, EightTermsMeetInPairsOfNeighbours) {
  float t[8];
  std::vector<std::vector<float>> terms;
  for (int r = 0; r < 8; ++r) terms.push_back({t[r] = InputAt(r, 5)});
  const float expected = ((t[0] + t[1]) + (t[2] + t[3])) + ((t[4] + t[5]) + (t[6] + t[7]));
  EXPECT_EQ(std::memcmp(Sum(terms, 0, 1).data(), &expected, sizeof expected), 0);
}

TEST(TreeSum, AnOddOneOutGoesUpAlone) {
  // 1 is lost in 2^24 unless it meets another 1 first.
  constexpr float kBig = 0x1p24f;
  EXPECT_EQ(Sum({{1}, {1}, {kBig}}, 0, 1), std::vector<float>{kBig + 2});
  EXPECT_EQ(Sum({{kBig}, {1}, {1}}, 0, 1), std::vector<float>{kBig});
  EXPECT_EQ(Sum({{kBig}, {0}, {0}, {0}, {1}, {1}}, 0, 1), std::vector<float>{kBig + 2});
}

TEST(TreeSum, SignedZerosAreKept) {
  EXPECT_TRUE(std::signbit(Sum({{-0.0f}}, 0, 1)[0]));
  EXPECT_TRUE(std::signbit(Sum({{-0.0f}, {-0.0f}, {-0.0f}}, 0, 1)[0]));
  EXPECT_FALSE(std::signbit(Sum({{-0.0f}, {0.0f}}, 0, 1)[0]));
}

TEST(TreeSum, APartHasTheBitsOfTheWhole) {
  constexpr int64_t kCount = 3 * kTreeBlock + 5;
  for (int size : {1, 2, 3, 5, 8}) {
    std::vector<std::vector<float>> terms;
    for (int r = 0; r < size; ++r) terms.push_back(Inputs(r, kCount));
    const std::vector<float> whole = TreeOfInputs(size, kCount);
    for (int64_t begin : {int64_t{0}, int64_t{1}, kTreeBlock - 1, kTreeBlock + 3}) {
      for (int64_t count : {int64_t{0}, int64_t{1}, int64_t{17}, 2 * kTreeBlock}) {
        const std::vector<float> part = Sum(terms, begin, count);
        EXPECT_EQ(std::vector<float>(whole.begin() + begin, whole.begin() + begin + count), part) << size << " terms from " << begin;
      }
    }
  }
}

TEST(TreeSum, TheSumMayTakeATermsPlace) {
  constexpr int64_t kCount = kTreeBlock + 7;
  const std::vector<float> expected = TreeOfInputs(5, kCount);
  for (size_t place = 0; place < 5; ++place) {
    std::vector<std::vector<float>> terms;
    std::vector<const float*> pointers;
    for (int r = 0; r < 5; ++r) pointers.push_back(terms.emplace_back(Inputs(r, kCount)).data());
    TreeSum(pointers, 0, kCount, terms[place].data());
    EXPECT_EQ(terms[place], expected) << "term " << place;
  }
}

}  // namespace
}  // namespace intaglio::collectives
