// What a kernel is: a pure function over rows and tiles, named by a stable string in the plan and resolved once, at load.
//
// A call has operands (plain pointers with a row stride), parameters (numbers fixed at export) and the step's own data
// (StepView). A kernel does its work in up to kMaxStages stages; a stage is a number of independent tasks that threads
// take apart in any order, with a barrier between stages. Kernels never allocate, never throw, keep no state and make no
// system call. Which thread runs a task, and in which order tasks run, never changes a bit.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/dtype.h"

namespace intaglio::kernels {

inline constexpr int kLanes = 16;          // f32 lanes that everything is written over
inline constexpr int kKvTile = 64;         // positions in one KV tile = one block of the KV cache; tiles start at multiples of it
inline constexpr int kKvSpanTiles = 4;     // tiles in one span (256 positions): the unit that threads share in attention
inline constexpr int kSegments = 8;        // canonical K segments of a matmul: those of eight ranks
inline constexpr int kMaxOperands = 10;
inline constexpr int kMaxStages = 3;
inline constexpr size_t kScratchBytes = 1 << 20;   // private to a worker, 64-byte aligned, contents undefined at task start
inline constexpr size_t kAlignment = 64;           // of every operand and of arena offsets

// A matrix in memory: `rows` x `cols` elements of `dtype`, `stride` elements from one row to the next.
// Rows of arena values are padded to a multiple of kLanes floats, so kernels may store whole lanes past `cols`
// (never past `stride`), except into a column slice of a wider value, where they must store exactly `cols`.
// Packed weights: rows = N, cols = K, the bytes as pack.h says, `stride` unused. KV layers: see kv_layout.h.
struct Tensor {
  std::byte* data = nullptr;
  int64_t rows = 0, cols = 0, stride = 0;
  DType dtype = DType::kF32;

  [[nodiscard]] bool is_present() const { return data != nullptr; }
  [[nodiscard]] float* f32(int64_t row = 0) const { return reinterpret_cast<float*>(data) + row * stride; }
  [[nodiscard]] int32_t* i32(int64_t row = 0) const { return reinterpret_cast<int32_t*>(data) + row * stride; }
};

// Numbers fixed at export. What each index means is in params.h, one enum a kernel family.
struct Params {
  std::array<int64_t, 16> ints{};
  std::array<float, 4> floats{};
};

// How one output row is sampled. Neutral values switch a processor off. Order as Transformers applies it: repetition penalty
// (over prompt and output), frequency and presence penalty (over output), temperature, top-k, top-p, min-p, draw.
struct SamplingRow {
  float temperature = 0.0f;          // 0: greedy (argmax; lowest id on a tie)
  float top_p = 1.0f, min_p = 0.0f;
  float repetition_penalty = 1.0f, presence_penalty = 0.0f, frequency_penalty = 0.0f;
  int32_t top_k = 0;                 // 0: all
  int32_t num_logprobs = 0;          // top-n log-probabilities wanted (of the raw logits); 0: none
  uint64_t seed = 0;
  const int32_t* history = nullptr;  // the sequence's tokens up to and including this row
  int32_t history_size = 0;
  int32_t prompt_size = 0;           // the first prompt_size of them are prompt, the rest output
  int32_t position = 0;              // of the token to draw: (seed, position) keys the generator
};

// One step's data. Rows of one slot are neighbours, with ascending consecutive positions. Rows [num_rows, bucket) do not exist:
// kernels touch only live rows. All pointers are valid for the step.
struct StepView {
  int32_t num_rows = 0;      // live rows
  int32_t num_outputs = 0;   // live output rows: those whose logits and ids are wanted
  const int32_t* tokens = nullptr;        // [num_rows]
  const int32_t* positions = nullptr;     // [num_rows]
  const int32_t* slots = nullptr;         // [num_rows]
  const int32_t* lengths = nullptr;       // [num_rows]: tokens in the row's slot after the step; null where no kernel looks ahead of its row
  const int32_t* rope_rows = nullptr;     // [num_rows]: rows of rotary tables that change with the sequence's length; null if none do
  const int32_t* output_rows = nullptr;   // [num_outputs], ascending: which rows are output
  const SamplingRow* sampling = nullptr;  // [num_outputs]
  // Block tables: block_tables[group][slot * max_blocks[group] + position / kKvTile] is the physical block, -1 if there is none.
  const int32_t* const* block_tables = nullptr;
  const int32_t* max_blocks = nullptr;
};

// One resolved kernel call of a plan.
struct KernelCall {
  std::array<Tensor, kMaxOperands> operands{};
  Params params;
  [[nodiscard]] const Tensor& operator[](int i) const { return operands[static_cast<size_t>(i)]; }
};

struct Kernel {
  // Tasks of `stage` in this step; 0 means there is nothing to do. Never depends on the number of threads.
  using NumTasks = int64_t (*)(const KernelCall&, const StepView&, int stage) noexcept;
  using Run = void (*)(const KernelCall&, const StepView&, int stage, int64_t task, std::byte* scratch) noexcept;
  // Null when operands and params fit together, else what is wrong: a sentence part such as "operand 2 has 3 columns".
  // Called once per call at load, so that a hostile plan cannot make a kernel run past its operands.
  using Check = const char* (*)(const KernelCall&) noexcept;

  std::string_view name;
  int num_stages = 1;
  NumTasks num_tasks = nullptr;
  Run run = nullptr;
  Check check = nullptr;
};

}  // namespace intaglio::kernels
