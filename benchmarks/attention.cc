// Attention as a share of what the machine can do in that moment (prefill: of its FMA peak, decode: of its read bandwidth), and the time
// that sampling a large vocabulary takes. Limits and kernels are measured in turns, because both drift; the figures are medians.
//
//   attention [threads [level [type]]]     e.g. attention 1 avx2 bf16; all levels and all types of the cache unless named
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <vector>

#include "base/limits.h"
#include "kernels/kv_layout.h"
#include "kernels/params.h"
#include "kernels/registry.h"
#include "kernels/workspace.h"

namespace intaglio::benchmarks {
namespace {

using namespace kernels;

constexpr int kRounds = 15;

double Median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

Tensor View(std::vector<float>& data, int64_t rows, int64_t cols) {
  data.resize(static_cast<size_t>(rows * cols), 0.1f);
  return {reinterpret_cast<std::byte*>(data.data()), rows, cols, cols, DType::kF32};
}

struct Case {
  int64_t heads, kv_heads, head_dim, rows, context;
  DType dtype;
  [[nodiscard]] KvShape kv_shape() const { return {head_dim, head_dim, dtype}; }
};

// A call of `rows` queries at the end of a context, over blocks of a cache that starts at `cache`.
struct AttentionStep {
  std::vector<float> q, out, workspace;
  std::vector<int32_t> table, slots, positions;
  const int32_t* tables = nullptr;
  int32_t max_blocks = 0;
  KernelCall call;
  StepView step;

  explicit AttentionStep(const Case& c) : slots(static_cast<size_t>(c.rows), 0) {
    using namespace attention_params;
    max_blocks = static_cast<int32_t>((c.context + kKvTile - 1) / kKvTile);
    table.resize(static_cast<size_t>(max_blocks));
    positions.resize(slots.size());
    std::iota(table.begin(), table.end(), 0);
    std::iota(positions.begin(), positions.end(), static_cast<int32_t>(c.context - c.rows));
    tables = table.data();
    const int64_t block_elements = KvBlockBytes(c.kv_heads, c.kv_shape()) / KvElementBytes(c.dtype);
    call.operands = {View(out, c.rows, c.heads * c.head_dim), View(q, c.rows, c.heads * c.head_dim),
                     Tensor{nullptr, max_blocks, block_elements, block_elements, c.dtype}};
    const int64_t workspace_bytes = AttentionWorkspaceBytes(c.rows, c.heads, c.kv_heads, c.head_dim, c.context);
    if (workspace_bytes > 0) call.operands[3] = View(workspace, 1, workspace_bytes / 4);
    call.params.ints[kHeads] = c.heads;
    call.params.ints[kKvHeads] = c.kv_heads;
    call.params.ints[kHeadDim] = c.head_dim;
    call.params.ints[kNumBlocks] = max_blocks;
    call.params.floats[kScale] = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
    step = {.num_rows = static_cast<int32_t>(c.rows),
            .positions = positions.data(),
            .slots = slots.data(),
            .block_tables = &tables,
            .max_blocks = &max_blocks};
  }
  [[nodiscard]] size_t cache_bytes() const { return static_cast<size_t>(call[2].rows * call[2].cols * KvElementBytes(call[2].dtype)); }
};

class Bench {
 public:
  explicit Bench(int threads) : pool_(threads), memory_(size_t{512} << 20), scratch_(kScratchBytes * static_cast<size_t>(pool_.num_threads())) {}

  // Numbers of ordinary size: no infinities, no subnormals. The bytes of int8 make scales of 1e-3 to 1e-2 as well.
  void Fill(DType dtype) {
    const std::span<std::byte> bytes = memory_.bytes();
    const auto number = [](size_t i) { return static_cast<float>(i % 1021) * 1e-3f - 0.5f; };
    if (dtype == DType::kF32) {
      for (size_t i = 0; i < bytes.size() / 4; ++i) reinterpret_cast<float*>(bytes.data())[i] = number(i);
    } else if (dtype == DType::kBF16) {
      for (size_t i = 0; i < bytes.size() / 2; ++i) reinterpret_cast<uint16_t*>(bytes.data())[i] = F32ToBf16(number(i));
    } else {
      for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(0x3a + i % 7 % 3);
    }
  }

  [[nodiscard]] int num_threads() const { return pool_.num_threads(); }

  double Seconds(const Kernel& kernel, const KernelCall& call, const StepView& step) {
    const auto start = std::chrono::steady_clock::now();
    for (int stage = 0; stage < kernel.num_stages; ++stage) {
      auto body = [&, scratch = scratch_.bytes().data()](int64_t task, int worker) {
        kernel.run(call, step, stage, task, scratch + kScratchBytes * static_cast<size_t>(worker));
      };
      pool_.ParallelFor(
          kernel.num_tasks(call, step, stage),
          [](void* context, int64_t task, int worker) noexcept { (*static_cast<decltype(body)*>(context))(task, worker); }, &body);
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  void Attention(Isa isa, const Case& c) {
    AttentionStep attention(c);
    const size_t cache_bytes = attention.cache_bytes(), copies = memory_.bytes().size() / cache_bytes;
    std::vector<double> times, shares;
    for (int round = -1; round < kRounds; ++round) {   // the first is to warm up; every run reads another part of memory
      attention.call.operands[2].data = memory_.bytes().data() + static_cast<size_t>(round + 1) % copies * cache_bytes;
      const double limit = LimitSeconds(isa, c);
      const double seconds = Seconds(*FindKernel("attention", isa), attention.call, attention.step);
      if (round < 0) continue;
      times.push_back(seconds);
      shares.push_back(limit / seconds);
    }
    std::printf("attention %-4s %2ld/%ld heads of %3ld, %4ld rows at %5ld  %9.3f ms  %3.0f %%\n", Name(c.dtype).data(), c.heads, c.kv_heads,
                c.head_dim, c.rows, c.context, 1e3 * Median(times), 100 * Median(shares));
  }

  void Sampling(Isa isa, const char* name, const SamplingRow& row) {
    constexpr int64_t kVocab = 262144;
    std::vector<float> logits, workspace;
    int32_t id = 0;
    KernelCall call;
    call.operands = {Tensor{reinterpret_cast<std::byte*>(&id), 1, 1, 1, DType::kI32}, View(logits, 1, kVocab),
                     View(workspace, 1, SampleWorkspaceBytes(1, kVocab) / 4)};
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0.0f, 3.0f);
    std::ranges::generate(logits, [&] { return normal(random); });
    const StepView step{.num_rows = 1, .num_outputs = 1, .sampling = &row};
    std::vector<double> times;
    for (int round = 0; round < kRounds; ++round) times.push_back(Seconds(*FindKernel("sample", isa), call, step));
    std::printf("sample %ld tokens, %-22s %9.3f ms\n", kVocab, name, 1e3 * Median(times));
  }

 private:
  // The time that the multiplications of visible positions take at the peak, or their keys and values to read, whichever is longer.
  double LimitSeconds(Isa isa, const Case& c) {
    constexpr size_t kReadBytes = size_t{64} << 20;
    const double visible = static_cast<double>(c.rows) * static_cast<double>(2 * c.context - c.rows + 1) / 2;
    const Peak& fma = FindPeak(isa == Isa::kAvx512 ? "f32 FMA, AVX-512" : "f32 FMA, AVX2");
    const double compute = PeakSeconds(pool_, fma) / fma.operations / pool_.num_threads() * 4 * visible * static_cast<double>(c.heads * c.head_dim);
    const double bytes = static_cast<double>(c.context) / kKvTile * static_cast<double>(KvBlockBytes(c.kv_heads, c.kv_shape()));
    const double read = ReadSeconds(pool_, memory_.bytes().last(kReadBytes), /*streams=*/4) / static_cast<double>(kReadBytes) * bytes;
    return std::max(read, compute);
  }

  ThreadPool pool_;
  ColdMemory memory_, scratch_;
};

void ReportAttention(Bench& bench, Isa isa, DType dtype) {
  bench.Fill(dtype);
  struct Heads {
    int64_t heads, kv_heads, head_dim;
  };
  for (const Heads& h : {Heads{32, 8, 64}, Heads{8, 2, 128}, Heads{4, 1, 256}, Heads{8, 8, 64}}) {
    for (int64_t depth : {2048, 8192}) bench.Attention(isa, {h.heads, h.kv_heads, h.head_dim, 1, depth, dtype});
    for (int64_t rows : {512, 256}) bench.Attention(isa, {h.heads, h.kv_heads, h.head_dim, rows, rows == 512 ? rows : 8192, dtype});
  }
}

void ReportSampling(Bench& bench, Isa isa) {
  bench.Sampling(isa, "greedy", {});
  bench.Sampling(isa, "temperature", {.temperature = 1.0f});
  bench.Sampling(isa, "top-k 64", {.temperature = 1.0f, .top_k = 64});
  bench.Sampling(isa, "top-p 0.95", {.temperature = 1.0f, .top_p = 0.95f});
  bench.Sampling(isa, "top-k 64, top-p 0.95", {.temperature = 1.0f, .top_p = 0.95f, .top_k = 64});
}

}  // namespace
}  // namespace intaglio::benchmarks

int main(int argc, char** argv) {
  using namespace intaglio;
  benchmarks::Bench bench(argc > 1 ? std::atoi(argv[1]) : 0);
  const std::string_view level = argc > 2 ? argv[2] : "", type = argc > 3 ? argv[3] : "";
  for (kernels::Isa isa : kernels::SupportedIsas()) {
    if (isa == kernels::Isa::kScalar || (!level.empty() && level != Name(isa))) continue;
    std::printf("%s, %d threads\n", Name(isa).data(), bench.num_threads());
    for (DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
      if (type.empty() || type == Name(dtype)) benchmarks::ReportAttention(bench, isa, dtype);
    }
    if (type.empty()) benchmarks::ReportSampling(bench, isa);
  }
}
