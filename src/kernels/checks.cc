// Task counts and operand checks of the kernels that work row by row. A check answers before the first run, so it must leave a hostile
// plan no way to make the kernel leave its operands; extents against memory are the device's business.
#include "kernels/checks.h"

#include <algorithm>

#include "kernels/leaves.h"
#include "kernels/params.h"

namespace intaglio::kernels {
namespace {

constexpr int64_t kMaxBytes = int64_t{1} << 50;   // more than any memory, and far from overflow

bool FollowsOutputs(const KernelCall& call) { return call.params.ints[kDomain] == static_cast<int64_t>(Domain::kOutputs); }

const char* CheckSameShape(const KernelCall& call, int num_inputs) noexcept {
  if (!IsMatrix(call[0])) return "the output is not an f32 matrix";
  for (int i = 1; i <= num_inputs; ++i) {
    if (!IsMatrix(call[i])) return "an input is not an f32 matrix";
    if (call[i].rows != call[0].rows || call[i].cols != call[0].cols) return "the input is shaped unlike the output";
  }
  return CheckDomain(call);
}

// Rope's parameters and table; shapes of x and out are checked already.
const char* CheckRotation(const KernelCall& call) noexcept {
  const int64_t head_dim = call.params.ints[rope_params::kHeadDim], rotary_dim = call.params.ints[rope_params::kRotaryDim];
  const int64_t style = call.params.ints[rope_params::kStyle];
  if (head_dim < 1 || call[0].cols % head_dim != 0) return "the head size does not divide the columns";
  if (rotary_dim < 2 || rotary_dim % 2 != 0 || rotary_dim > head_dim) return "the rotary size is odd or out of range";
  if (style != 0 && style != 1) return "the rotary style is unknown";
  const int64_t has_rows = call.params.ints[rope_params::kHasRows];
  if (has_rows < 0 || has_rows > 2) return "which rows of the rotary table are read is unknown";
  if (!IsMatrix(call[2]) || call[2].cols != rotary_dim) return "the rotary table is not as wide as the rotary size";
  if (has_rows == 2 && call[2].rows < call[0].rows) return "the rotary table has not a row for every row";
  return CheckStepRows(call, Domain::kRows);
}

}  // namespace

bool IsMatrix(const Tensor& tensor) noexcept {
  if (!tensor.is_present() || tensor.dtype != DType::kF32) return false;
  return tensor.rows > 0 && tensor.cols > 0 && tensor.stride >= tensor.cols && tensor.stride <= kMaxBytes / 4 / tensor.rows;
}

bool IsRow(const Tensor& tensor, int64_t cols) noexcept { return IsMatrix(tensor) && tensor.rows == 1 && tensor.cols == cols; }

bool IsSegmentation(const int64_t* borders, int64_t width) noexcept {
  return borders[0] == 0 && borders[kSegments] == width && std::is_sorted(borders, borders + kSegments + 1);
}

const char* CheckAlike(const KernelCall& call) noexcept {
  if (!IsMatrix(call[0]) || !IsMatrix(call[1])) return "an operand is not an f32 matrix";
  return call[1].rows == call[0].rows && call[1].cols == call[0].cols ? nullptr : "the input is shaped unlike the output";
}

int64_t LiveRows(const KernelCall& call, const StepView& step) noexcept {
  const int64_t rows = FollowsOutputs(call) ? step.num_outputs : step.num_rows;
  return rows * std::max<int64_t>(1, call.params.ints[kRowMultiple]);
}

const char* CheckDomain(const KernelCall& call) noexcept {
  const int64_t domain = call.params.ints[kDomain];
  const bool is_known = domain == static_cast<int64_t>(Domain::kRows) || domain == static_cast<int64_t>(Domain::kOutputs);
  if (!is_known) return "the row domain is unknown";
  const int64_t multiple = call.params.ints[kRowMultiple];
  return multiple >= 0 && multiple <= route_params::kMaxTopK ? nullptr : "the row multiple is out of range";
}

const char* CheckStepRows(const KernelCall& call, Domain domain) noexcept {
  if (call.params.ints[kDomain] != static_cast<int64_t>(domain))
    return domain == Domain::kRows ? "the call must follow the rows" : "the call must follow the output rows";
  return call.params.ints[kRowMultiple] <= 1 ? nullptr : "the call reads the step's rows, which cannot be multiplied";
}

int64_t RowTasks(const KernelCall& call, const StepView& step, int) noexcept { return std::min<int64_t>(LiveRows(call, step), call[0].rows); }

const char* CheckUnary(const KernelCall& call) noexcept { return CheckSameShape(call, 1); }
const char* CheckBinary(const KernelCall& call) noexcept { return CheckSameShape(call, 2); }

const char* CheckGated(const KernelCall& call) noexcept {
  if (!IsMatrix(call[0]) || !IsMatrix(call[1])) return "an operand is not an f32 matrix";
  if (call[1].rows != call[0].rows || call[1].cols != 2 * call[0].cols) return "the input is not twice as wide as the output";
  return CheckDomain(call);
}

const char* CheckGatherRows(const KernelCall& call) noexcept {
  if (!IsMatrix(call[0]) || !IsMatrix(call[1])) return "an operand is not an f32 matrix";
  if (call[1].cols != call[0].cols) return "the input is not as wide as the output";
  return CheckStepRows(call, Domain::kOutputs);
}

const char* CheckRmsNorm(const KernelCall& call) noexcept {
  if (const char* problem = CheckSameShape(call, 1)) return problem;
  const int64_t width = call.params.ints[norm_params::kWidth];
  if (width < 1 || call[0].cols % width != 0) return "the norm's width does not divide the columns";
  if (!IsRow(call[2], width)) return "the norm's weight is not one row of its width";
  const int64_t* borders = &call.params.ints[norm_params::kBorders];
  if (borders[kSegments] == 0) return nullptr;
  return IsSegmentation(borders, width) ? nullptr : "the norm's segments are not ascending from 0 to its width";
}

const char* CheckSquareSum(const KernelCall& call) noexcept {
  const Tensor &out = call[0], &x = call[1];
  if (!IsMatrix(out) || !IsMatrix(x)) return "an operand is not an f32 matrix";
  if (out.cols != 1 || out.rows != x.rows) return "the output is not one column as long as the input";
  const int64_t* borders = &call.params.ints[norm_params::kBorders];
  if (borders[0] < 0 || borders[kSegments] > x.cols || !std::is_sorted(borders, borders + kSegments + 1))
    return "the segments are not ascending within the input";
  if (const char* problem = CheckLeaves(call, borders)) return problem;
  return CheckDomain(call);
}

const char* CheckNormBy(const KernelCall& call) noexcept {
  if (const char* problem = CheckSameShape(call, 1)) return problem;
  const Tensor& sums = call[2];
  if (!IsMatrix(sums) || sums.cols != 1 || sums.rows != call[0].rows) return "the sums are not one column as long as the input";
  if (!IsRow(call[3], call[0].cols)) return "the norm's weight is not one row as wide as the input";
  return call.params.ints[norm_params::kWidth] < 1 ? "the norm is not over a number of columns" : nullptr;  // of all ranks; a rank may have copies
}

const char* CheckAddBias(const KernelCall& call) noexcept {
  if (const char* problem = CheckSameShape(call, 1)) return problem;
  return IsRow(call[2], call[0].cols) ? nullptr : "the bias is not one row of the output's width";
}

const char* CheckZeros(const KernelCall& call) noexcept { return CheckSameShape(call, 0); }

const char* CheckRotary(const KernelCall& call) noexcept {
  if (!IsMatrix(call[0]) || !IsMatrix(call[1]) || call[0].cols != 2 * call[1].cols) return "the output is not twice as wide as the frequencies";
  if (call.params.ints[rotary_params::kFirstLength] < 1) return "the first length is not positive";
  return CheckStepRows(call, Domain::kRows);
}

const char* CheckRope(const KernelCall& call) noexcept {
  if (const char* problem = CheckSameShape(call, 1)) return problem;
  return CheckRotation(call);
}

const char* CheckScaleByPosition(const KernelCall& call) noexcept {
  if (const char* problem = CheckSameShape(call, 1)) return problem;
  if (!IsMatrix(call[2]) || call[2].cols != 1) return "the table is not one column";
  return CheckStepRows(call, Domain::kRows);
}

const char* CheckNormRope(const KernelCall& call) noexcept {
  if (const char* problem = CheckRope(call)) return problem;
  return IsRow(call[3], call.params.ints[rope_params::kHeadDim]) ? nullptr : "the norm's weight is not one row of the head size";
}

}  // namespace intaglio::kernels
