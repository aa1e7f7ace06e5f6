#include "graph/interpret_ranks.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace intaglio::graph {
namespace {

using Operands = std::span<const Operand>;

std::vector<float> AllReduce(const RanksStep& step, Operands in) {
  std::vector<float> out(in[0].f32.begin(), in[0].f32.end());
  step.exchange.all_reduce(out);
  return out;
}

// Row by row, so that what the ranks bring, one after the other, is the row.
std::vector<float> AllGather(const RanksStep& step, Operands in) {
  std::vector<float> out;
  const size_t rows = in.empty() ? step.live_rows : in[0].f32.size() / in[0].cols;
  for (size_t row = 0; row < rows; ++row) {
    const std::vector<float> whole =
        step.exchange.all_gather(in.empty() ? std::span<const float>() : in[0].f32.subspan(row * in[0].cols, in[0].cols));
    out.insert(out.end(), whole.begin(), whole.end());
  }
  return out;
}

// Every rank tells all of its rows; each takes those of its share of the step's.
std::vector<float> ExpertExchange(const RanksStep& step, Operands in) {
  const auto& attrs = std::get<ExchangeAttrs>(step.node.attrs);
  const std::span<const int32_t> positions = in[0].i32, offsets = in[1].i32;
  const size_t cols = static_cast<size_t>(attrs.cols), size = positions.size() * cols, top_k = in[0].cols;
  const std::vector<float> all = step.exchange.all_gather(in.size() == 3 ? in[2].f32 : std::span<const float>());
  const auto num_ranks = static_cast<size_t>(step.graph.place.tp_degree), rank = static_cast<size_t>(step.graph.place.rank);
  std::vector<float> out(size, std::numeric_limits<float>::quiet_NaN());
  size_t begin = 0;   // of the rank's rows among all; one without experts brings none
  for (size_t from = 0; from < num_ranks; ++from) {
    const auto first = static_cast<size_t>(attrs.experts[from]), end = static_cast<size_t>(attrs.experts[from + 1]);
    if (first == end) continue;
    for (size_t i = step.live_rows * rank / num_ranks * top_k; i < step.live_rows * (rank + 1) / num_ranks * top_k; ++i) {
      if (positions[i] < offsets[first] || positions[i] >= offsets[end]) continue;
      const size_t at = static_cast<size_t>(positions[i]) * cols;
      std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(begin + at), cols, out.begin() + static_cast<std::ptrdiff_t>(at));
    }
    begin += size;
  }
  return out;
}

std::vector<float> RowGather(const RanksStep& step, Operands in) {
  const auto num_ranks = static_cast<size_t>(step.graph.place.tp_degree), rank = static_cast<size_t>(step.graph.place.rank);
  const size_t first = step.live_rows * rank / num_ranks, end = step.live_rows * (rank + 1) / num_ranks;
  return step.exchange.all_gather(in[0].f32.subspan(first * in[0].cols, (end - first) * in[0].cols));
}

std::vector<float> AddBias(Operands in) {
  std::vector<float> out;
  for (size_t i = 0; i < in[0].f32.size(); ++i) out.push_back(in[0].f32[i] + in[1].f32[i % in[0].cols]);
  return out;
}

std::vector<float> Zeros(const RanksStep& step) {
  const auto& attrs = std::get<ZerosAttrs>(step.node.attrs);
  return std::vector<float>(step.live_rows * static_cast<size_t>(attrs.rows / step.graph.rows * attrs.cols));
}

std::vector<float> SquareSum(const SquareSumAttrs& attrs, Operands in) {
  std::vector<float> out;
  for (size_t row = 0; row < in[0].f32.size(); row += in[0].cols) {
    double sum = 0;
    for (auto i = static_cast<size_t>(attrs.segments.front()); i < static_cast<size_t>(attrs.segments.back()); ++i)
      sum += static_cast<double>(in[0].f32[row + i]) * in[0].f32[row + i];
    out.push_back(static_cast<float>(sum));
  }
  return out;
}

std::vector<float> NormBy(const NormAttrs& attrs, Operands in) {
  std::vector<float> out;
  for (size_t i = 0; i < in[0].f32.size(); ++i) {
    const double mean = in[1].f32[i / in[0].cols] / static_cast<double>(attrs.width);
    out.push_back(static_cast<float>(in[0].f32[i] / std::sqrt(mean + attrs.eps) * in[2].f32[i % in[0].cols]));
  }
  return out;
}

std::vector<float> ExpertIsolate(const ExpertAttrs& attrs, Operands in) {
  const size_t cols = in[0].cols;
  const auto row_of = [&](int64_t expert) { return static_cast<size_t>(in[1].i32[static_cast<size_t>(expert)]); };
  const size_t begin = row_of(attrs.first_expert) * cols, end = row_of(attrs.end_expert()) * cols;
  std::vector<float> out(in[0].f32.size(), -0.0f);
  for (size_t i = begin; i < end; ++i) out[i] = in[0].f32[i];
  return out;
}

std::vector<float> ExpertBias(const ExpertAttrs& attrs, Operands in) {
  const size_t cols = in[0].cols;
  std::vector<float> out(in[0].f32.begin(), in[0].f32.end());
  for (size_t expert = 0; expert < static_cast<size_t>(attrs.num_experts); ++expert) {
    const auto begin = static_cast<size_t>(in[1].i32[expert]) * cols, end = static_cast<size_t>(in[1].i32[expert + 1]) * cols;
    for (size_t i = begin; i < end; ++i) out[i] += in[2].f32[expert * cols + i % cols];
  }
  return out;
}

}  // namespace

std::vector<float> InterpretRanks(const RanksStep& step, Operands in) {
  const Attrs& attrs = step.node.attrs;
  switch (step.node.op) {
    case Op::kAllReduce:
      return AllReduce(step, in);
    case Op::kAllGather:
      return AllGather(step, in);
    case Op::kExpertExchange:
      return ExpertExchange(step, in);
    case Op::kRowGather:
      return RowGather(step, in);
    case Op::kAddBias:
      return AddBias(in);
    case Op::kZeros:
      return Zeros(step);
    case Op::kSquareSum:
      return SquareSum(std::get<SquareSumAttrs>(attrs), in);
    case Op::kNormBy:
      return NormBy(std::get<NormAttrs>(attrs), in);
    case Op::kExpertIsolate:
      return ExpertIsolate(std::get<ExpertAttrs>(attrs), in);
    default:
      return ExpertBias(std::get<ExpertAttrs>(attrs), in);
  }
}

}  // namespace intaglio::graph
