#include "graph/interpret_embedder.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"

namespace intaglio::graph {
namespace {

using Operands = std::span<const Operand>;

std::vector<float> LayerNorm(Operands in, double eps) {
  const size_t cols = in[0].cols;
  const std::span<const float> x = in[0].f32, weight = in[1].f32, bias = in[2].f32;
  std::vector<float> out;
  for (size_t row = 0; row < x.size(); row += cols) {
    double sum = 0, squares = 0;
    for (float element : x.subspan(row, cols)) sum += element;
    const double mean = sum / static_cast<double>(cols);
    for (float element : x.subspan(row, cols)) squares += (element - mean) * (element - mean);
    const double deviation = std::sqrt(squares / static_cast<double>(cols) + eps);
    for (size_t i = 0; i < cols; ++i) out.push_back(static_cast<float>((x[row + i] - mean) / deviation * weight[i] + bias[i]));
  }
  return out;
}

std::vector<float> UnitNorm(Operands in) {
  const std::span<const float> x = in[0].f32;
  const size_t cols = in[0].cols;
  std::vector<float> out;
  for (size_t row = 0; row < x.size(); row += cols) {
    double squares = 0;
    for (float element : x.subspan(row, cols)) squares += static_cast<double>(element) * element;
    const double length = std::max(std::sqrt(squares), 1e-12);
    for (float element : x.subspan(row, cols)) out.push_back(static_cast<float>(element / length));
  }
  return out;
}

std::vector<float> AddPosition(Operands in) {
  const size_t cols = in[0].cols;
  const std::span<const float> x = in[0].f32, table = in[2].f32, constant = in[3].f32;
  std::vector<float> out;
  for (size_t i = 0; i < x.size(); ++i) {
    const auto position = static_cast<size_t>(in[1].i32[i / cols]);
    out.push_back(static_cast<float>(static_cast<double>(x[i]) + constant[i % cols] + table[position * cols + i % cols]));
  }
  return out;
}

std::vector<float> Pool(Operands in, PoolMode mode) {
  const size_t cols = in[0].cols;
  const std::span<const float> x = in[0].f32;
  std::vector<float> out;
  for (int32_t last : in[2].i32) {
    const int32_t first = last - in[1].i32[static_cast<size_t>(last)];
    Require(first >= 0, ErrorCode::kInvalidArgument, "interpreter: output row ", last, " ends a sequence that began before the step");
    for (size_t col = 0; col < cols; ++col) {
      double sum = 0;
      for (int32_t row = first; row <= (mode == PoolMode::kFirst ? first : last); ++row) sum += x[static_cast<size_t>(row) * cols + col];
      out.push_back(static_cast<float>(mode == PoolMode::kFirst ? sum : sum / (last - first + 1)));
    }
  }
  return out;
}

}  // namespace

std::vector<float> InterpretEmbedder(const Node& node, Operands in) {
  switch (node.op) {
    case Op::kLayerNorm:
      return LayerNorm(in, std::get<NormAttrs>(node.attrs).eps);
    case Op::kUnitNorm:
      return UnitNorm(in);
    case Op::kAddPosition:
      return AddPosition(in);
    default:
      return Pool(in, std::get<PoolAttrs>(node.attrs).mode);
  }
}

}  // namespace intaglio::graph
