// Mixture of experts: routing, grouping rows by expert, and the sum over a row's experts. The experts' own matmuls are matmul.cc's, over
// each expert's rows alone.
#include <algorithm>

#include "kernels/expert_rows.h"
#include "kernels/isa/math.h"
#include "kernels/isa/matmul.h"
#include "kernels/params.h"

namespace intaglio::kernels::INTAGLIO_ISA {

namespace {

constexpr float kExcluded = -__builtin_inff();
constexpr int kExpertGroups = 8;   // canonical groups of experts, those of eight ranks
constexpr int64_t kNone = -1;
constexpr int32_t kDropped = -1;

// out[i] = e^(x[i] - largest x) / their sum: 16 partial sums, one fold.
void Softmax(const float* x, int64_t n, float* out) {
  F32 largest = Set(kExcluded);
  for (int64_t i = 0; i < n; ++i) largest = Max(Set(x[i]), largest);
  F32 sums = Zero();
  for (int64_t i = 0; i < n; i += kLanes) {
    const int lanes = LanesLeft(i, n);
    StoreFirst(out + i, Exp(Sub(LoadFirst(x + i, lanes), largest)), lanes);
    sums = Add(sums, LoadFirst(out + i, lanes));
  }
  const F32 sum = Set(SumLanes(sums));
  for (int64_t i = 0; i < n; i += kLanes) StoreFirst(out + i, Div(LoadFirst(out + i, LanesLeft(i, n)), sum), LanesLeft(i, n));
}

void Sigmoid(const float* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const F32 v = LoadFirst(x + i, LanesLeft(i, n));
    StoreFirst(out + i, Div(Set(1.0f), Add(Set(1.0f), Exp(Sub(Zero(), v)))), LanesLeft(i, n));
  }
}

// The index of the largest value that is not taken; the lowest on a tie, and when nothing compares larger (NaN).
int64_t TakeLargest(float* values, int64_t n) {
  int64_t best = kNone;
  for (int64_t i = 0; i < n; ++i) {
    if (values[i] > kExcluded && (best == kNone || values[i] > values[best])) best = i;
  }
  if (best != kNone) values[best] = kExcluded;
  return best;
}

// Excludes all experts but those of the best groups; a group is as good as its two best together. `best` has room for the groups.
void KeepBestGroups(const KernelCall& call, int64_t num_experts, float* choice, float* best) {
  const int64_t groups = call.params.ints[route_params::kNumGroups], size = num_experts / groups;
  if (groups == 1) return;
  for (int64_t g = 0; g < groups; ++g) {
    float first = kExcluded, second = kExcluded;
    for (int64_t i = g * size; i < (g + 1) * size; ++i) {
      if (choice[i] > first) {
        second = first, first = choice[i];
      } else if (choice[i] > second) {
        second = choice[i];
      }
    }
    best[g] = size > 1 ? first + second : first;
  }
  bool is_kept[route_params::kMaxExperts] = {};
  for (int64_t i = 0; i < call.params.ints[route_params::kTopGroups]; ++i) {
    if (const int64_t g = TakeLargest(best, groups); g != kNone) is_kept[g] = true;
  }
  for (int64_t i = 0; i < num_experts; ++i) choice[i] = is_kept[i / size] ? choice[i] : kExcluded;
}

}  // namespace

void Route(const KernelCall& call, const StepView&, int, int64_t row, std::byte* scratch) noexcept {
  const Tensor &logits = call[2], &bias = call[3];
  const int64_t n = logits.cols, k = call[0].cols, scoring = call.params.ints[route_params::kScoring];
  int32_t* ids = call[0].i32(row);
  float* weights = call[1].f32(row);
  float *scores = reinterpret_cast<float*>(scratch), *choice = scores + n, *groups = choice + n;
  if (scoring == 0) {
    Softmax(logits.f32(row), n, scores);
  } else if (scoring == 1) {
    Sigmoid(logits.f32(row), n, scores);
  } else {
    std::copy_n(logits.f32(row), n, scores);
  }
  for (int64_t i = 0; i < n; ++i) choice[i] = bias.is_present() ? scores[i] + bias.f32()[i] : scores[i];
  KeepBestGroups(call, n, choice, groups);
  for (int64_t j = 0; j < k; ++j) {
    const int64_t taken = TakeLargest(choice, n);
    ids[j] = static_cast<int32_t>(taken == kNone ? j : taken);   // nothing is comparable (NaN): any k experts will do
  }
  std::sort(ids, ids + k);
  for (int64_t j = 0; j < k; ++j) weights[j] = scores[ids[j]];
  if (scoring == 2) Softmax(weights, k, weights);
  const float scale = call.params.floats[route_params::kScale];
  float sum = 0;
  for (int64_t j = 0; j < k; ++j) sum = sum + weights[j];
  for (int64_t j = 0; j < k; ++j) weights[j] = (call.params.ints[route_params::kNormalise] != 0 ? weights[j] / sum : weights[j]) * scale;
}

void ExpertGroup(const KernelCall& call, const StepView& step, int, int64_t, std::byte* scratch) noexcept {
  const Tensor &positions = call[0], &ids = call[2];
  int32_t *offsets = call[1].i32(), *taken = reinterpret_cast<int32_t*>(scratch);
  const int64_t num_experts = call[1].cols - 1, rows = std::min<int64_t>(step.num_rows, ids.rows),
                capacity = call.params.ints[expert_params::kCapacity];
  const auto most = static_cast<int32_t>(capacity == 0 ? INT32_MAX : std::min<int64_t>(capacity, INT32_MAX));
  const auto expert_of = [&](int64_t row, int64_t j) { return std::clamp<int64_t>(ids.i32(row)[j], 0, num_experts - 1); };
  std::fill_n(taken, num_experts, 0);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t j = 0; j < ids.cols; ++j) ++taken[expert_of(row, j)];
  }
  offsets[0] = 0;
  for (int64_t e = 0; e < num_experts; ++e) offsets[e + 1] = offsets[e] + std::min(taken[e], most);
  std::fill_n(taken, num_experts, 0);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t j = 0; j < ids.cols; ++j) {
      const int64_t e = expert_of(row, j);
      positions.i32(row)[j] = taken[e] < most ? offsets[e] + taken[e]++ : kDropped;
    }
  }
}

void ExpertGather(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const Tensor &out = call[0], &x = call[1], &positions = call[2], &weights = call[3];
  for (int64_t j = 0; j < positions.cols; ++j) {
    if (positions.i32(row)[j] == kDropped) continue;
    float* to = out.f32(std::clamp<int64_t>(positions.i32(row)[j], 0, out.rows - 1));
    const F32 weight = Set(weights.is_present() ? weights.f32(row)[j] : 1.0f);
    for (int64_t i = 0; i < out.cols; i += kLanes)
      StoreFirst(to + i, Mul(LoadFirst(x.f32(row) + i, LanesLeft(i, out.cols)), weight), LanesLeft(i, out.cols));
  }
}

void ExpertCombine(const KernelCall& call, const StepView& step, int, int64_t task, std::byte*) noexcept {
  const Tensor &out = call[0], &y = call[1], &positions = call[2], &ids = call[3], &weights = call[4];
  const int64_t num_experts = NumExperts(call), first = call.params.ints[expert_params::kFirstGroup],
                stated = call.params.ints[expert_params::kNumGroups], num_groups = stated == 0 ? kExpertGroups : stated;
  const int64_t row = CombinedRows(call, step).begin + task;
  const int32_t* id = ids.i32(row);
  for (int64_t i = 0; i < out.cols; i += kLanes) {
    const int lanes = LanesLeft(i, out.cols);
    F32 groups[kExpertGroups];
    int64_t j = 0;
    for (int g = 0; g < first + num_groups; ++g) {
      groups[g] = Zero();
      for (const int64_t end = num_experts * (g + 1) / kExpertGroups; j < ids.cols && (id[j] < end || g == kExpertGroups - 1); ++j) {
        if (positions.i32(row)[j] == kDropped || g < first) continue;
        const float* from = y.f32(std::clamp<int64_t>(positions.i32(row)[j], 0, y.rows - 1));
        groups[g] = Fma(Set(weights.is_present() ? weights.f32(row)[j] : 1.0f), LoadFirst(from + i, lanes), groups[g]);
      }
    }
    F32* own = groups + first;
    for (int64_t step = 1; step < num_groups; step *= 2) {
      for (int64_t g = 0; g < num_groups; g += 2 * step) own[g] = Add(own[g], own[g + step]);
    }
    StoreFirst(out.f32(row) + i, own[0], lanes);
  }
}

void ExpertIsolate(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const Tensor &out = call[0], &y = call[1];
  const int32_t* own = call[2].i32() + call.params.ints[expert_params::kFirstExpert];
  if (row < own[0] || row >= own[NumExperts(call)]) {
    std::fill_n(out.f32(row), out.cols, -0.0f);
  } else if (out.data != y.data) {
    std::copy_n(y.f32(row), out.cols, out.f32(row));
  }
}

void ExpertBias(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const Tensor &out = call[0], &y = call[1], &offsets = call[2], &bias = call[3];
  // The last expert that begins at the row or before it. Rows past the last expert are nobody's, and nobody reads them.
  const int64_t expert = std::upper_bound(offsets.i32(), offsets.i32() + offsets.cols, row) - offsets.i32() - 1;
  const float* own = bias.f32(std::clamp<int64_t>(expert, 0, bias.rows - 1));
  for (int64_t i = 0; i < out.cols; i += kLanes) {
    const int lanes = LanesLeft(i, out.cols);
    StoreFirst(out.f32(row) + i, Add(LoadFirst(y.f32(row) + i, lanes), LoadFirst(own + i, lanes)), lanes);
  }
}

void ExpertMatMulF32(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept {
  const ExpertTask found = FindExpertTask(call, step, stage, task);
  const ExpertShare share = ShareOfExpert(call, step, found.expert);
  MatMulF32(share.call, share.step, stage, found.task, scratch);
}

void ExpertMatMulBf16(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept {
  const ExpertTask found = FindExpertTask(call, step, stage, task);
  const ExpertShare share = ShareOfExpert(call, step, found.expert);
  MatMulBf16(share.call, share.step, stage, found.task, scratch);
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
