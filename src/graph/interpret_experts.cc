#include "graph/interpret_experts.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/assert.h"

namespace intaglio::graph {
namespace {

constexpr double kExcluded = -std::numeric_limits<double>::infinity();

std::vector<double> Softmax(std::span<const float> logits) {
  const double largest = *std::ranges::max_element(logits);
  std::vector<double> out;
  double sum = 0;
  for (float logit : logits) sum += out.emplace_back(std::exp(logit - largest));
  for (double& x : out) x /= sum;
  return out;
}

// Indices of the `count` largest, the lower index first on a tie, in ascending order of index.
std::vector<size_t> TopIndices(const std::vector<double>& values, size_t count) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](size_t i) { return values[i]; });
  order.resize(count);
  std::ranges::sort(order);
  return order;
}

// Leaves only the experts of the best groups; a group is as good as its two best experts together.
void ExcludeGroups(const RouteAttrs& attrs, std::vector<double>& choice) {
  if (attrs.num_groups == 1) return;
  const size_t size = choice.size() / static_cast<size_t>(attrs.num_groups);
  std::vector<double> scores;
  for (size_t begin = 0; begin < choice.size(); begin += size) {
    std::vector<double> group(choice.begin() + static_cast<ptrdiff_t>(begin), choice.begin() + static_cast<ptrdiff_t>(begin + size));
    std::ranges::sort(group, std::greater());
    scores.push_back(group[0] + (size > 1 ? group[1] : 0));
  }
  const std::vector<size_t> kept = TopIndices(scores, static_cast<size_t>(attrs.top_groups));
  for (size_t i = 0; i < choice.size(); ++i) {
    if (!std::ranges::binary_search(kept, i / size)) choice[i] = kExcluded;
  }
}

void RouteRow(const RouteAttrs& attrs, std::span<const float> logits, std::span<const float> bias, std::vector<Buffer>& out) {
  std::vector<double> scores(logits.begin(), logits.end());
  if (attrs.scoring == RouterScoring::kSoftmax) scores = Softmax(logits);
  if (attrs.scoring == RouterScoring::kSigmoid) std::ranges::transform(logits, scores.begin(), [](double x) { return 1 / (1 + std::exp(-x)); });
  std::vector<double> choice = scores;
  for (size_t i = 0; i < bias.size(); ++i) choice[i] += bias[i];
  ExcludeGroups(attrs, choice);
  const std::vector<size_t> ids = TopIndices(choice, static_cast<size_t>(attrs.top_k));
  std::vector<double> weights;
  for (size_t id : ids) weights.push_back(scores[id]);
  if (attrs.scoring == RouterScoring::kSoftmaxOfTopK) weights = Softmax(std::vector<float>(weights.begin(), weights.end()));
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (size_t i = 0; i < ids.size(); ++i) {
    out[0].i32.push_back(static_cast<int32_t>(ids[i]));
    out[1].f32.push_back(static_cast<float>((attrs.normalise ? weights[i] / sum : weights[i]) * attrs.scale));
  }
}

std::vector<Buffer> Group(const ExpertAttrs& attrs, std::span<const int32_t> ids) {
  std::vector<Buffer> out(2);
  out[0].i32.resize(ids.size());
  out[1].i32.push_back(0);
  int32_t position = 0;
  for (int32_t expert = 0; expert < attrs.num_experts; ++expert) {
    const int32_t first = position;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] == expert) out[0].i32[i] = attrs.capacity == 0 || position - first < attrs.capacity ? position++ : -1;
    }
    out[1].i32.push_back(position);
  }
  return out;
}

Buffer Gather(const ExpertAttrs& attrs, std::span<const Operand> in) {
  const size_t cols = in[0].cols, top_k = in[1].cols;
  Buffer out;
  out.f32.resize(in[1].i32.size() * cols);
  for (size_t choice = 0; choice < in[1].i32.size(); ++choice) {
    if (in[1].i32[choice] < 0) continue;
    const float weight = attrs.has_weights ? in[2].f32[choice] : 1.0f;
    for (size_t i = 0; i < cols; ++i) out.f32[static_cast<size_t>(in[1].i32[choice]) * cols + i] = in[0].f32[choice / top_k * cols + i] * weight;
  }
  return out;
}

Buffer MatMul(const ExpertAttrs& attrs, std::span<const Operand> in) {
  const auto first = static_cast<size_t>(attrs.first_expert), count = static_cast<size_t>(attrs.end_expert()) - first;
  const size_t k = in[1].cols, n = in[1].f32.size() / k / count;
  Buffer out;
  // What nobody reads: rows of other ranks' experts and, at the end, those left over by dropped ones.
  out.f32.assign(in[0].f32.size() / k * n, std::numeric_limits<float>::quiet_NaN());
  for (size_t expert = 0; expert < count; ++expert) {
    const std::span<const int32_t> offsets = in[2].i32.subspan(first + expert, 2);
    for (auto row = static_cast<size_t>(offsets[0]); row < static_cast<size_t>(offsets[1]); ++row) {
      for (size_t col = 0; col < n; ++col) {
        double sum = attrs.has_bias ? in[3].f32[expert * n + col] : 0.0;
        for (size_t i = 0; i < k; ++i) sum += static_cast<double>(in[0].f32[row * k + i]) * in[1].f32[(expert * n + col) * k + i];
        out.f32[row * n + col] = static_cast<float>(sum);
      }
    }
  }
  return out;
}

Buffer Combine(const ExpertAttrs& attrs, std::span<const Operand> in) {
  const size_t cols = in[0].cols, top_k = in[1].cols;
  const int64_t begin = attrs.num_experts * attrs.first_group / kNumSegments,
                end = attrs.num_experts * (attrs.first_group + attrs.num_groups) / kNumSegments;
  const auto share = static_cast<size_t>(attrs.share), num_shares = static_cast<size_t>(attrs.num_shares);
  const size_t rows = in[1].i32.size() / top_k, first_row = rows * share / num_shares, end_row = rows * (share + 1) / num_shares;
  Buffer out;
  out.f32.assign(first_row * cols, std::numeric_limits<float>::quiet_NaN());
  for (size_t first = first_row * top_k; first < end_row * top_k; first += top_k) {
    for (size_t col = 0; col < cols; ++col) {
      double sum = 0;
      for (size_t j = first; j < first + top_k; ++j) {
        if (in[1].i32[j] < 0 || in[2].i32[j] < begin || in[2].i32[j] >= end) continue;
        sum += static_cast<double>(attrs.has_weights ? in[3].f32[j] : 1.0f) * in[0].f32[static_cast<size_t>(in[1].i32[j]) * cols + col];
      }
      out.f32.push_back(static_cast<float>(sum));
    }
  }
  out.f32.resize(rows * cols, std::numeric_limits<float>::quiet_NaN());
  return out;
}

Buffer HeadMatMul(const HeadAttrs& attrs, std::span<const Operand> in) {
  const size_t cols = in[0].cols, k = cols / static_cast<size_t>(attrs.heads), out_cols = in[1].f32.size() / k,
               n = out_cols / static_cast<size_t>(attrs.heads);
  Buffer out;
  for (size_t row = 0; row < in[0].f32.size(); row += cols) {
    for (size_t col = 0; col < out_cols; ++col) {
      double sum = 0;
      for (size_t i = 0; i < k; ++i) sum += static_cast<double>(in[0].f32[row + col / n * k + i]) * in[1].f32[col * k + i];
      out.f32.push_back(static_cast<float>(sum));
    }
  }
  return out;
}

Buffer HeadConcat(const HeadAttrs& attrs, std::span<const Operand> in) {
  const auto heads = static_cast<size_t>(attrs.heads);
  const size_t a_size = in[0].cols / heads, b_size = attrs.is_shared ? in[1].cols : in[1].cols / heads;
  Buffer out;
  for (size_t i = 0; i < in[0].f32.size() / a_size; ++i) {   // every head of every row
    const auto a = in[0].f32.subspan(i * a_size, a_size), b = in[1].f32.subspan((attrs.is_shared ? i / heads : i) * b_size, b_size);
    out.f32.insert(out.f32.end(), a.begin(), a.end());
    out.f32.insert(out.f32.end(), b.begin(), b.end());
  }
  return out;
}

}  // namespace

std::vector<Buffer> InterpretExperts(const Node& node, std::span<const Operand> in) {
  if (node.op == Op::kRoute) {
    std::vector<Buffer> out(2);
    const std::span<const float> bias = in.size() == 2 ? in[1].f32 : std::span<const float>();
    for (size_t begin = 0; begin < in[0].f32.size(); begin += in[0].cols) {
      RouteRow(std::get<RouteAttrs>(node.attrs), in[0].f32.subspan(begin, in[0].cols), bias, out);
    }
    return out;
  }
  if (node.op == Op::kHeadMatMul) return {HeadMatMul(std::get<HeadAttrs>(node.attrs), in)};
  if (node.op == Op::kHeadConcat) return {HeadConcat(std::get<HeadAttrs>(node.attrs), in)};
  const auto& attrs = std::get<ExpertAttrs>(node.attrs);
  switch (node.op) {
    case Op::kExpertGroup:
      return Group(attrs, in[0].i32);
    case Op::kExpertGather:
      return {Gather(attrs, in)};
    case Op::kExpertMatMul:
      return {MatMul(attrs, in)};
    default:
      Assert(node.op == Op::kExpertCombine);
      return {Combine(attrs, in)};
  }
}

}  // namespace intaglio::graph
