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

bool IsMatrix(const WeightSource& source) { return source.view == SourceView::kRows && source.shape.size() > 1; }

bool IsCut(const WeightSource& source) { return source.cols() != source.whole_cols(); }

constexpr int64_t kBatchElements = 1 << 18;   // of whole rows, read at once

// Fills `out` with rows of a matrix from `begin` on that are cut, or apart: read(row, count, whole rows) gives them whole, a few at a time.
template <typename T, typename ReadFunction>
void ReadCutRows(const WeightSource& source, int64_t begin, std::vector<T>& whole, std::span<T> out, const ReadFunction& read) {
  const int64_t whole_cols = source.whole_cols(), cols = source.cols(), count = static_cast<int64_t>(out.size()) / cols;
  const int64_t most = source.row_step > 1 ? 1 : std::max<int64_t>(1, kBatchElements / whole_cols);
  for (int64_t done = 0; done < count; done += most) {
    const int64_t rows = std::min(most, count - done);
    whole.resize(static_cast<size_t>(rows * whole_cols));
    read(source.first_row + (begin + done) * source.row_step, rows, std::span(whole));
    for (int64_t row = 0; row < rows; ++row) std::copy_n(whole.begin() + row * whole_cols + source.first_k, cols, out.begin() + (done + row) * cols);
  }
}

}  // namespace

bool SourceReader::IsBf16(const graph::Weight& weight, const checkpoint::Checkpoint& checkpoint) {
  return weight.add == 0 && std::ranges::all_of(weight.sources, [&](const WeightSource& source) {
           return IsMatrix(source) && source.row_step == 1 && checkpoint.is_bf16(source.name);
         });
}

void SourceReader::ReadBf16(int64_t begin, int64_t count, std::span<uint16_t> out) {
  ForEachPart(weight_, begin, count, [&](const WeightSource& source, int64_t first, int64_t rows, int64_t offset) {
    const auto part = out.subspan(static_cast<size_t>(offset), static_cast<size_t>(rows * source.cols()));
    const auto read = [&](int64_t row, int64_t num_rows, std::span<uint16_t> to) { checkpoint_.ReadRowsBf16(source.name, row, num_rows, to); };
    if (IsCut(source)) return ReadCutRows(source, first, bf16_rows_, part, read);
    read(source.first_row + first, rows, part);
  });
}

std::optional<DType> SourceReader::QuantizedAs(const graph::Weight& weight, const checkpoint::Checkpoint& checkpoint) {
  std::optional<DType> common;
  for (const WeightSource& source : weight.sources) {
    std::optional<DType> dtype;
    if (source.view == SourceView::kMxfp4Rows) dtype = DType::kMxfp4;
    if (IsMatrix(source)) dtype = checkpoint.quantized_type(source.name);
    if (!dtype || (common && *common != *dtype)) return std::nullopt;
    common = dtype;
  }
  return weight.add == 0 ? common : std::nullopt;
}

void SourceReader::ReadQuantized(int64_t begin, int64_t count, QuantizedRows& out) {
  out.num_rows = count, out.k = weight_.shape.back();
  for (auto* bytes : {&out.q, &out.s, &out.t}) bytes->clear();
  for (auto* numbers : {&out.d, &out.m}) numbers->clear();
  ForEachPart(weight_, begin, count, [&](const WeightSource& source, int64_t first, int64_t rows, int64_t) {
    if (source.view == SourceView::kMxfp4Rows) return AppendMxfp4(source, first, rows, out);
    const int64_t run = source.row_step == 1 ? rows : 1;   // rows that are neighbours in the tensor
    for (int64_t row = 0; row < rows; row += run) {
      const checkpoint::MatrixPart part{
          .row = source.first_row + (first + row) * source.row_step, .count = run, .first_k = source.first_k, .num_k = source.cols()};
      checkpoint_.AppendQuantized(source.name, part, out);
    }
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
  if (IsMatrix(source)) return ReadMatrix(source, begin, count, out);
  if (source.view == SourceView::kColumns) return ReadColumns(source, begin, count, out);
  if (source.view == SourceView::kMxfp4Rows) return ReadMxfp4(source, begin, count, out);
  // Elements of a vector, or of a small tensor seen as one: read it once, pick.
  if (cached_ != &source) {
    cached_ = &source;
    cache_.resize(static_cast<size_t>(source.shape.num_elements()));
    checkpoint_.ReadRows(source.name, 0, source.shape.size() == 1 ? 1 : source.shape.num_elements() / source.shape.back(), cache_);
  }
  for (int64_t i = 0; i < count; ++i) out[static_cast<size_t>(i)] = cache_[static_cast<size_t>(source.first_row + (begin + i) * source.row_step)];
}

void SourceReader::ReadMatrix(const WeightSource& source, int64_t begin, int64_t count, std::span<float> out) {
  const auto read = [&](int64_t row, int64_t num_rows, std::span<float> to) { checkpoint_.ReadRows(source.name, row, num_rows, to); };
  if (source.row_step == 1 && !IsCut(source)) return read(source.first_row + begin, count, out);
  cached_ = nullptr;
  ReadCutRows(source, begin, cache_, out, read);
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
  const int64_t cols = source.cols(), groups = source.whole_cols() / graph::kMxfp4Group, end = source.first_k + cols;
  const int64_t first_group = source.first_k / graph::kMxfp4Group, num_groups = (end - 1) / graph::kMxfp4Group + 1 - first_group;
  const int64_t skipped = first_group * graph::kMxfp4Group;   // elements before the first group that is read
  cached_ = nullptr;
  cache_.resize(static_cast<size_t>(num_groups * graph::kMxfp4Group / 2));
  exponents_.resize(static_cast<size_t>(groups));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = source.first_row + (begin + i) * source.row_step;
    checkpoint_.ReadRows(source.name, row * groups + first_group, num_groups, cache_);
    checkpoint_.ReadRows(source.scales, row, 1, exponents_);
    float* to = out.data() + i * cols;
    for (int64_t k = source.first_k; k < end; ++k) {
      const auto byte = static_cast<unsigned>(cache_[static_cast<size_t>((k - skipped) / 2)]);   // two elements, the lower half first
      const auto exponent = static_cast<uint8_t>(exponents_[static_cast<size_t>(k / graph::kMxfp4Group)]);
      *to++ = Mxfp4ToF32(static_cast<uint8_t>(k % 2 == 0 ? byte & 15u : byte >> 4), exponent);
    }
  }
}

void SourceReader::AppendMxfp4(const WeightSource& source, int64_t begin, int64_t count, QuantizedRows& out) {
  const int64_t groups = source.whole_cols() / graph::kMxfp4Group, first_group = source.first_k / graph::kMxfp4Group,
                num_groups = source.cols() / graph::kMxfp4Group;
  cached_ = nullptr;
  cache_.resize(static_cast<size_t>(num_groups * graph::kMxfp4Group / 2));
  exponents_.resize(static_cast<size_t>(groups));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = source.first_row + (begin + i) * source.row_step;
    checkpoint_.ReadRows(source.name, row * groups + first_group, num_groups, cache_);
    checkpoint_.ReadRows(source.scales, row, 1, exponents_);
    for (float pair : cache_) {   // two elements, the lower half first
      const auto byte = static_cast<uint8_t>(pair);
      out.q.push_back(byte & 15), out.q.push_back(byte >> 4);
    }
    for (int64_t group = first_group; group < first_group + num_groups; ++group)
      out.s.push_back(static_cast<uint8_t>(exponents_[static_cast<size_t>(group)]));
  }
}

}  // namespace intaglio::compiler
