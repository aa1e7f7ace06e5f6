// What kernel tests share: owned matrices, and running a call at a level with its tasks in any order.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/pack.h"
#include "kernels/registry.h"

namespace intaglio::kernels {

// Float rows at 64-byte aligned strides. What lies past `cols` is filled with a sentinel, so that a store too far is seen.
class Matrix {
 public:
  static constexpr float kSentinel = -12345.0f;

  Matrix(int64_t rows, int64_t cols, int64_t stride = 0)
      : rows_(rows), cols_(cols), stride_(stride == 0 ? (cols + kLanes - 1) / kLanes * kLanes : stride) {
    const auto count = static_cast<size_t>(rows_ * stride_);
    data_.reset(static_cast<float*>(::operator new(count * sizeof(float) + kAlignment, std::align_val_t{kAlignment})));
    std::fill_n(data_.get(), count, kSentinel);
  }
  Matrix(int64_t rows, int64_t cols, std::mt19937& random, float scale = 1.0f) : Matrix(rows, cols) {
    std::normal_distribution<float> normal(0.0f, scale);
    for (int64_t r = 0; r < rows; ++r) std::generate_n(row(r), cols, [&] { return normal(random); });
  }

  [[nodiscard]] float* row(int64_t r) const { return data_.get() + r * stride_; }
  [[nodiscard]] int64_t rows() const { return rows_; }
  [[nodiscard]] int64_t cols() const { return cols_; }
  [[nodiscard]] Tensor tensor() const { return {reinterpret_cast<std::byte*>(data_.get()), rows_, cols_, stride_, DType::kF32}; }
  [[nodiscard]] bool HasIntactPadding() const {
    for (int64_t r = 0; r < rows_; ++r) {
      if (!std::all_of(row(r) + cols_, row(r) + stride_, [](float x) { return x == kSentinel; })) return false;
    }
    return true;
  }

 private:
  struct Free {
    void operator()(float* p) const { ::operator delete(p, std::align_val_t{kAlignment}); }
  };
  int64_t rows_, cols_, stride_;
  std::unique_ptr<float, Free> data_;
};

// Equal bits in all columns of two matrices.
inline bool SameBits(const Matrix& a, const Matrix& b) {
  for (int64_t r = 0; r < a.rows(); ++r) {
    if (std::memcmp(a.row(r), b.row(r), static_cast<size_t>(a.cols()) * sizeof(float)) != 0) return false;
  }
  return a.rows() == b.rows() && a.cols() == b.cols();
}

// One packed f32 matrix after the other, each in whole blocks: those that `weight` has of `n` rows each.
class PackedStack {
 public:
  PackedStack(const Matrix& weight, int64_t n) : k_(weight.cols()), blocks_(weight.rows() / n * NumBlocks(n), weight.cols() * kLanes) {
    std::vector<float> rows;
    for (int64_t block = 0; block < blocks_.rows(); ++block) {
      const int64_t first = block % NumBlocks(n) * kLanes, count = std::min<int64_t>(kLanes, n - first);
      rows.clear();
      for (int64_t i = 0; i < count; ++i) {
        const float* row = weight.row(block / NumBlocks(n) * n + first + i);
        rows.insert(rows.end(), row, row + k_);
      }
      const auto block_bytes = static_cast<size_t>(PackedBlockBytes(k_, DType::kF32));
      PackBlock(rows.data(), count, k_, DType::kF32, {reinterpret_cast<std::byte*>(blocks_.row(block)), block_bytes});
    }
  }
  [[nodiscard]] Tensor tensor() const { return {blocks_.tensor().data, blocks_.rows() * kLanes, k_, 0, DType::kF32}; }

 private:
  int64_t k_;
  Matrix blocks_;
};

// A step of so many rows, for kernels that read none of its arrays.
inline StepView Step(int64_t rows) {
  StepView step;
  step.num_rows = static_cast<int32_t>(rows);
  return step;
}

// Runs a call: the tasks of a stage in an order drawn from `order_seed`, the scratch full of NaN before each.
inline void RunKernel(std::string_view name, Isa isa, const KernelCall& call, const StepView& step, uint32_t order_seed = 0) {
  const Kernel* kernel = FindKernel(name, isa);
  ASSERT_NE(kernel, nullptr) << name;
  const char* problem = kernel->check(call);
  ASSERT_EQ(problem, nullptr) << name << ": " << problem;
  std::mt19937 random(order_seed);
  const Matrix scratch(1, kScratchBytes / sizeof(float));
  for (int stage = 0; stage < kernel->num_stages; ++stage) {
    std::vector<int64_t> tasks(static_cast<size_t>(kernel->num_tasks(call, step, stage)));
    std::iota(tasks.begin(), tasks.end(), 0);
    if (order_seed != 0) std::shuffle(tasks.begin(), tasks.end(), random);
    for (int64_t task : tasks) {
      std::fill_n(scratch.row(0), kScratchBytes / sizeof(float) / 16, std::numeric_limits<float>::quiet_NaN());
      kernel->run(call, step, stage, task, scratch.tensor().data);
    }
  }
}

// A call from its operands; absent ones are default tensors.
inline KernelCall Call(std::initializer_list<Tensor> operands) {
  KernelCall call;
  std::copy(operands.begin(), operands.end(), call.operands.begin());
  return call;
}

}  // namespace intaglio::kernels
