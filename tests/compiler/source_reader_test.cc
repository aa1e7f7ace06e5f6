#include "compiler/source_reader.h"

#include <gtest/gtest.h>

#include <cstring>

#include "graph/load_weight.h"
#include "tests/compiler/made_up_checkpoint.h"

namespace intaglio::compiler {
namespace {

using graph::SourceView;
using graph::Weight;
using graph::WeightSource;

Weight WeightOf(std::vector<WeightSource> sources, float add = 0) {
  Weight weight{.name = "w", .shape = {0, sources[0].cols()}, .sources = std::move(sources), .add = add, .constant = nullptr};
  for (const WeightSource& source : weight.sources) weight.shape[0] += source.rows();
  return weight;
}

// All rows, `at_once` at a time.
std::vector<float> ReadAll(const Weight& weight, const MadeUpCheckpoint& checkpoint, int64_t at_once) {
  std::vector<float> out(static_cast<size_t>(weight.shape.num_elements()));
  SourceReader reader(weight, checkpoint);
  for (int64_t row = 0; row < weight.shape[0]; row += at_once) {
    const int64_t count = std::min(at_once, weight.shape[0] - row), cols = weight.shape[1];
    reader.Read(row, count, std::span(out).subspan(static_cast<size_t>(row * cols), static_cast<size_t>(count * cols)));
  }
  return out;
}

// The reader against the oracle's plain loops, bit for bit, whatever rows are asked for at a time.
void ExpectAsLoaded(const Weight& weight, const MadeUpCheckpoint& checkpoint) {
  const std::vector<float> expected = LoadWeight(weight, [&](const std::string& name) { return checkpoint.Whole(name); });
  for (int64_t at_once : {1, 3, 16}) {
    const std::vector<float> actual = ReadAll(weight, checkpoint, at_once);
    ASSERT_EQ(actual.size(), expected.size());
    EXPECT_EQ(std::memcmp(actual.data(), expected.data(), expected.size() * sizeof(float)), 0) << at_once << " rows at a time";
  }
}

}  // namespace

TEST(SourceReader, TakesARangeOfEachRow) {
  const MadeUpCheckpoint checkpoint({{"a", {.shape = {20, 10}}}, {"b", {.shape = {5, 4}, .seed = 1000}}});
  const Weight weight = WeightOf({{.name = "a", .shape = {20, 10}, .first_row = 2, .num_rows = 7, .first_k = 3, .num_k = 4},
                                  {.name = "b", .shape = {5, 4}}});   // a whole matrix beside a cut one
  const std::vector<float> rows = ReadAll(weight, checkpoint, 16);
  EXPECT_EQ(std::vector<float>(rows.begin(), rows.begin() + 8), (std::vector<float>{23, 24, 25, 26, 33, 34, 35, 36}));
  EXPECT_EQ(rows[7 * 4], 1000.0f);
  ExpectAsLoaded(weight, checkpoint);
}

TEST(SourceReader, TakesARangeOfRowsThatAreApart) {
  const MadeUpCheckpoint checkpoint({{"a", {.shape = {3, 4, 10}}}});   // a stack, seen as one matrix of 12 rows
  const Weight weight =
      WeightOf({{.name = "a", .shape = {3, 4, 10}, .first_row = 1, .num_rows = 6, .row_step = 2, .first_k = 9, .num_k = 1}}, /*add=*/0.5f);
  EXPECT_EQ(ReadAll(weight, checkpoint, 2), (std::vector<float>{19.5f, 39.5f, 59.5f, 79.5f, 99.5f, 119.5f}));
  ExpectAsLoaded(weight, checkpoint);
}

TEST(SourceReader, TakesARangeOfMoreRowsThanItReadsAtOnce) {
  const MadeUpCheckpoint checkpoint({{"a", {.shape = {9, 100000}, .period = 65521}}});
  const Weight weight = WeightOf({{.name = "a", .shape = {9, 100000}, .first_k = 70000, .num_k = 100}});
  ExpectAsLoaded(weight, checkpoint);
}

TEST(SourceReader, TakesARangeOfBf16BitForBit) {
  const MadeUpCheckpoint checkpoint({{"a", {.shape = {20, 10}, .is_bf16 = true}}, {"b", {.shape = {6, 3}, .seed = 64, .is_bf16 = true}}});
  const Weight weight =
      WeightOf({{.name = "a", .shape = {20, 10}, .first_row = 3, .num_rows = 4, .first_k = 6, .num_k = 3}, {.name = "b", .shape = {6, 3}}});
  ASSERT_TRUE(SourceReader::IsBf16(weight, checkpoint));
  const std::vector<float> wide = ReadAll(weight, checkpoint, 16);
  for (int64_t begin : {0, 2, 5}) {   // of the cut source, across both, of the whole one
    std::vector<uint16_t> rows(5 * 3);
    SourceReader(weight, checkpoint).ReadBf16(begin, 5, rows);
    for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i], F32ToBf16(wide[static_cast<size_t>(begin) * 3 + i])) << begin << ", " << i;
  }
}

TEST(SourceReader, IsBf16OnlyWhereEveryRowLiesInOnePiece) {
  const MadeUpCheckpoint checkpoint({{"a", {.shape = {20, 10}, .is_bf16 = true}}, {"f32", {.shape = {20, 10}}}});
  const auto is_bf16 = [&](const WeightSource& source, float add = 0) { return SourceReader::IsBf16(WeightOf({source}, add), checkpoint); };
  EXPECT_TRUE(is_bf16({.name = "a", .shape = {20, 10}, .first_k = 6, .num_k = 3}));
  EXPECT_FALSE(is_bf16({.name = "a", .shape = {20, 10}, .num_rows = 10, .row_step = 2}));
  EXPECT_FALSE(is_bf16({.name = "a", .shape = {20, 10}, .first_k = 6, .num_k = 3}, /*add=*/1));
  EXPECT_FALSE(is_bf16({.name = "f32", .shape = {20, 10}, .first_k = 6, .num_k = 3}));
}

// Groups of 32 share an exponent; ranges begin and end within groups, and within bytes.
TEST(SourceReader, TakesARangeOfMxfp4) {
  const MadeUpCheckpoint checkpoint(
      {{"blocks", {.shape = {2, 5, 4, 16}, .seed = 17, .period = 239}}, {"scales", {.shape = {2, 5, 4}, .seed = 100, .period = 55}}});
  const WeightSource whole{.name = "blocks", .shape = {2, 5, 4, 16}, .view = SourceView::kMxfp4Rows, .scales = "scales"};
  ExpectAsLoaded(WeightOf({whole}), checkpoint);
  for (const auto& [first, count] : std::vector<std::pair<int64_t, int64_t>>{{0, 32}, {16, 16}, {31, 2}, {33, 62}, {63, 1}, {100, 28}, {1, 127}}) {
    SCOPED_TRACE(first);
    WeightSource part = whole;
    part.first_row = 1, part.num_rows = 4, part.row_step = 2, part.first_k = first, part.num_k = count;
    const Weight weight = WeightOf({part});
    ExpectAsLoaded(weight, checkpoint);
    const std::vector<float> all = ReadAll(WeightOf({whole}), checkpoint, 16), rows = ReadAll(weight, checkpoint, 16);
    const auto* expected = all.data() + (1 + 3 * 2) * 128 + first;   // the last of the rows
    EXPECT_EQ(std::memcmp(rows.data() + 3 * count, expected, static_cast<size_t>(count) * sizeof(float)), 0);
  }
}

TEST(SourceReader, TakesARangeOfTransposedColumns) {
  const MadeUpCheckpoint checkpoint({{"a", {.shape = {2, 6, 8}}}});   // [E, K, N]
  const Weight weight = WeightOf(
      {{.name = "a", .shape = {2, 6, 8}, .view = SourceView::kColumns, .first_row = 5, .num_rows = 2, .matrix = 1, .first_k = 2, .num_k = 3}});
  EXPECT_EQ(ReadAll(weight, checkpoint, 16), (std::vector<float>{69, 77, 85, 70, 78, 86}));
  ExpectAsLoaded(weight, checkpoint);
}

TEST(SourceReader, PicksElements) {
  const MadeUpCheckpoint checkpoint({{"taps", {.shape = {6, 1, 4}}}});
  const Weight weight = WeightOf({{.name = "taps", .shape = {6, 1, 4}, .view = SourceView::kElements, .first_row = 9, .num_rows = 3, .row_step = 4}});
  EXPECT_EQ(ReadAll(weight, checkpoint, 2), (std::vector<float>{9, 13, 17}));
}

}  // namespace intaglio::compiler
