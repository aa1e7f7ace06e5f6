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
  if (source.view == SourceView::kMxfp4Rows) return ReadMxfp4(source, begin, count, out);
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
  const bool is_cached = cached_ != nullptr && cached_->view == SourceView::kColumns && cached_->name == source.name &&
                         cached_->matrix == source.matrix && cached_->first_k == source.first_k && cached_->num_k == source.num_k;
  if (!is_cached) {
    cache_.resize(static_cast<size_t>(k_size * n_size));
    checkpoint_.ReadRows(source.name, source.matrix * source.shape[source.shape.size() - 2] + source.first_k, k_size, cache_);
  }
  cached_ = &source;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t column = source.first_row + (begin + i) * source.row_step;
    for (int64_t k = 0; k < k_size; ++k) out[static_cast<size_t>(i * k_size + k)] = cache_[static_cast<size_t>(k * n_size + column)];
  }
}

void SourceReader::ReadMxfp4(const WeightSource& source, int64_t begin, int64_t count, std::span<float> out) {
  const int64_t cols = source.cols(), groups = cols / graph::kMxfp4Group, half = graph::kMxfp4Group / 2;
  cached_ = nullptr;
  cache_.resize(static_cast<size_t>(cols / 2));
  exponents_.resize(static_cast<size_t>(groups));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = source.first_row + (begin + i) * source.row_step;
    checkpoint_.ReadRows(source.name, row * groups, groups, cache_);
    checkpoint_.ReadRows(source.scales, row, 1, exponents_);
    float* to = out.data() + i * cols;
    for (int64_t byte = 0; byte < cols / 2; ++byte) {   // two elements, the lower half first
      const auto bits = static_cast<unsigned>(cache_[static_cast<size_t>(byte)]);
      const auto exponent = static_cast<uint8_t>(exponents_[static_cast<size_t>(byte / half)]);
      to[2 * byte] = Mxfp4ToF32(static_cast<uint8_t>(bits & 15u), exponent);
      to[2 * byte + 1] = Mxfp4ToF32(static_cast<uint8_t>(bits >> 4), exponent);
    }
  }
}

}  // namespace intaglio::compiler
