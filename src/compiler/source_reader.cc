#include "compiler/source_reader.h"

#include <algorithm>

#include "base/assert.h"

namespace intaglio::compiler {

using graph::SourceView;
using graph::WeightSource;

namespace {

// Calls read(source, first row within it, rows, where they go in the output) for each source that has some of [begin, begin + count).
template <typename ReadFunction>
void ForEachPart(const graph::Weight& weight, int64_t begin, int64_t count, const ReadFunction& read) {
  int64_t first = 0;
  for (const WeightSource& source : weight.sources) {
    const int64_t rows = source.rows(), from = std::max(begin, first), to = std::min(begin + count, first + rows);
    if (from < to) read(source, from - first, to - from, (from - begin) * source.cols());
    first += rows;
  }
}

bool IsContiguous(const WeightSource& source) { return source.view == SourceView::kRows && source.row_step == 1 && source.shape.size() > 1; }

}  // namespace

bool SourceReader::IsBf16(const graph::Weight& weight, const checkpoint::Checkpoint& checkpoint) {
  return weight.add == 0 &&
         std::ranges::all_of(weight.sources, [&](const WeightSource& source) { return IsContiguous(source) && checkpoint.is_bf16(source.name); });
}

void SourceReader::ReadBf16(int64_t begin, int64_t count, std::span<uint16_t> out) const {
  ForEachPart(weight_, begin, count, [&](const WeightSource& source, int64_t first, int64_t rows, int64_t offset) {
    checkpoint_.ReadRowsBf16(source.name, source.first_row + first, rows,
                             out.subspan(static_cast<size_t>(offset), static_cast<size_t>(rows * source.cols())));
  });
}

void SourceReader::Read(int64_t begin, int64_t count, std::span<float> out) {
  ForEachPart(weight_, begin, count, [&](const WeightSource& source, int64_t first, int64_t rows, int64_t offset) {
    ReadSource(source, first, rows, out.subspan(static_cast<size_t>(offset), static_cast<size_t>(rows * source.cols())));
  });
  if (weight_.add == 0) return;
  for (float& element : out) element += weight_.add;
}

void SourceReader::ReadSource(const WeightSource& source, int64_t begin, int64_t count, std::span<float> out) {
  if (IsContiguous(source)) return checkpoint_.ReadRows(source.name, source.first_row + begin, count, out);
  if (source.view == SourceView::kColumns) return ReadColumns(source, begin, count, out);
  const auto cols = static_cast<size_t>(source.cols());
  if (cols > 1) {
    for (int64_t i = 0; i < count; ++i) {
      checkpoint_.ReadRows(source.name, source.first_row + (begin + i) * source.row_step, 1, out.subspan(static_cast<size_t>(i) * cols, cols));
    }
    return;
  }
  // Elements of a vector, or of a small tensor seen as one: read it once, pick.
  if (cached_ != &source) {
    cached_ = &source;
    cache_.resize(static_cast<size_t>(source.shape.num_elements()));
    checkpoint_.ReadRows(source.name, 0, source.shape.size() == 1 ? 1 : source.shape.num_elements() / source.shape.back(), cache_);
  }
  for (int64_t i = 0; i < count; ++i) out[static_cast<size_t>(i)] = cache_[static_cast<size_t>(source.first_row + (begin + i) * source.row_step)];
}

// The matrix [K, N] is read whole and kept for the next rows: callers go through a transposed matrix within one reader.
void SourceReader::ReadColumns(const WeightSource& source, int64_t begin, int64_t count, std::span<float> out) {
  const int64_t k_size = source.cols(), n_size = source.shape.back();
  if (cached_ == nullptr || cached_->name != source.name || cached_->matrix != source.matrix || cached_->view != SourceView::kColumns) {
    cache_.resize(static_cast<size_t>(k_size * n_size));
    checkpoint_.ReadRows(source.name, source.matrix * k_size, k_size, cache_);
  }
  cached_ = &source;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t column = source.first_row + (begin + i) * source.row_step;
    for (int64_t k = 0; k < k_size; ++k) out[static_cast<size_t>(i * k_size + k)] = cache_[static_cast<size_t>(k * n_size + column)];
  }
}

}  // namespace intaglio::compiler
