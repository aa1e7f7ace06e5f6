#include "graph/load_weight.h"

#include "base/fail.h"

namespace intaglio::graph {
namespace {

// Bytes of two elements each, the lower half first, and the exponents of their groups.
std::vector<float> UnpackMxfp4(const std::vector<float>& blocks, const std::vector<float>& exponents) {
  std::vector<float> values;
  for (size_t i = 0; i < 2 * blocks.size(); ++i) {
    const auto byte = static_cast<unsigned>(blocks[i / 2]);
    const auto bits = static_cast<uint8_t>(i % 2 == 0 ? byte & 15u : byte >> 4);
    values.push_back(Mxfp4ToF32(bits, static_cast<uint8_t>(exponents.at(i / kMxfp4Group))));
  }
  return values;
}

}  // namespace

std::vector<float> LoadWeight(const Weight& weight, const Interpreter::ReadTensor& read) {
  if (weight.constant != nullptr) return *weight.constant;
  std::vector<float> data;
  for (const WeightSource& source : weight.sources) {
    std::vector<float> part = read(source.name);
    Require(static_cast<int64_t>(part.size()) == source.shape.num_elements(), ErrorCode::kDataLoss, "interpreter: ", source.name, " has ",
            part.size(), " elements, expected ", source.shape);
    if (source.view == SourceView::kMxfp4Rows) part = UnpackMxfp4(part, read(source.scales));
    const int64_t rows = source.rows(), cols = source.cols();
    const bool is_transposed = source.view == SourceView::kColumns;
    const int64_t row_stride = is_transposed ? 1 : source.whole_cols(), col_stride = is_transposed ? source.shape.back() : 1;
    const int64_t base = (is_transposed ? source.matrix * source.whole_cols() + source.first_k : source.first_k) * col_stride;
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t row = base + (source.first_row + i * source.row_step) * row_stride;
      for (int64_t col = 0; col < cols; ++col) data.push_back(part[static_cast<size_t>(row + col * col_stride)]);
    }
  }
  if (weight.add == 0) return data;   // -0 stays what it is
  for (float& element : data) element += weight.add;
  return data;
}

}  // namespace intaglio::graph
