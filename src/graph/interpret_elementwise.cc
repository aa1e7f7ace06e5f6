#include "graph/interpret_elementwise.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace intaglio::graph {
namespace {

double SiluOf(double x) { return x / (1 + std::exp(-x)); }
double GeluTanhOf(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x))); }
double ClampedOf(double gate, double up, const ClampAttrs& attrs) {
  gate = std::min<double>(gate, attrs.limit);
  return (std::clamp<double>(up, -attrs.limit, attrs.limit) + 1) * gate / (1 + std::exp(-gate * attrs.alpha));
}

template <typename Function>
std::vector<float> Each(std::span<const float> x, Function function) {
  std::vector<float> out;
  for (float element : x) out.push_back(static_cast<float>(function(static_cast<double>(element))));
  return out;
}

template <typename Function>
std::vector<float> Pairs(std::span<const float> x, std::span<const float> y, Function function) {
  std::vector<float> out;
  for (size_t i = 0; i < x.size(); ++i) out.push_back(static_cast<float>(function(static_cast<double>(x[i]), static_cast<double>(y[i]))));
  return out;
}

// A row holds its gates, then their partners.
template <typename Function>
std::vector<float> GatedPairs(const Operand& in, Function function) {
  const std::span<const float> x = in.f32;
  const size_t n = in.cols / 2;
  std::vector<float> out;
  for (size_t row = 0; row < x.size(); row += 2 * n) {
    for (size_t i = 0; i < n; ++i) out.push_back(static_cast<float>(function(x[row + i], x[row + n + i])));
  }
  return out;
}

}  // namespace

std::vector<float> InterpretElementwise(const Node& node, std::span<const Operand> operands) {
  const std::span<const float> x = operands[0].f32;
  switch (node.op) {
    case Op::kAdd:
      return Pairs(x, operands[1].f32, [](double a, double b) { return a + b; });
    case Op::kMul:
      return Pairs(x, operands[1].f32, [](double a, double b) { return a * b; });
    case Op::kScale:
      return Each(x, [factor = std::get<ScalarAttrs>(node.attrs).value](double a) { return a * factor; });
    case Op::kSoftcap:
      return Each(x, [cap = std::get<ScalarAttrs>(node.attrs).value](double a) { return cap * std::tanh(a / cap); });
    case Op::kSilu:
      return Each(x, SiluOf);
    case Op::kGeluTanh:
      return Each(x, GeluTanhOf);
    case Op::kGelu:
      return Each(x, [](double a) { return a / 2 * std::erfc(-a / std::numbers::sqrt2); });
    case Op::kTanh:
      return Each(x, [](double a) { return std::tanh(a); });
    case Op::kGatedSilu:
      return GatedPairs(operands[0], [](double gate, double up) { return SiluOf(gate) * up; });
    case Op::kGatedGeluTanh:
      return GatedPairs(operands[0], [](double gate, double up) { return GeluTanhOf(gate) * up; });
    default:
      return GatedPairs(operands[0], [&](double gate, double up) { return ClampedOf(gate, up, std::get<ClampAttrs>(node.attrs)); });
  }
}

}  // namespace intaglio::graph
