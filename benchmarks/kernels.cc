// Matmul of every shape class as a share of what the machine can do in that moment: the time that its bytes take to read or its
// operations to compute, whichever is longer, over the time it took. Limits and kernels are measured in turns, because both drift.
//
//   kernel_benchmark [--json] [--isa LEVEL] [--threads N] [--filter TEXT] [--rounds N]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/limits.h"
#include "base/strings.h"
#include "intaglio/error.h"
#include "kernels/pack.h"
#include "kernels/params.h"
#include "kernels/registry.h"
#include "kernels/workspace.h"

namespace intaglio::benchmarks {
namespace {

using namespace kernels;

struct Options {
  bool is_json = false;
  std::string isa, filter;
  int threads = 0, rounds = 30;
};

struct Case {
  int64_t m, n, k;
  DType dtype;
  [[nodiscard]] std::string name() const { return StrCat("matmul_", dtype, " ", m, "x", n, "x", k); }
  [[nodiscard]] double weight_bytes() const { return static_cast<double>(PackedBytes(n, k, dtype)); }
  [[nodiscard]] double operations() const { return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k); }
};

// Decode, speculation, and prefill; a small model's layers, a 1B model's, and a vocabulary.
std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (DType dtype :
       {DType::kF32, DType::kBF16, DType::kQ8_0, DType::kInt8G64, DType::kInt8G128, DType::kQ4_0, DType::kQ4_1, DType::kInt4G64, DType::kInt4G128,
        DType::kQ5_0, DType::kQ5_1, DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, DType::kMxfp4}) {
    for (const auto& [n, k] : std::vector<std::pair<int64_t, int64_t>>{{2048, 640}, {2048, 2048}, {16384, 2048}, {2048, 8192}, {151936, 1024}}) {
      for (int64_t m : {1, 2, 3, 4, 8, 12, 16, 32, 64, 256, 512}) {
        if (n <= 16384 || m == 1) cases.push_back({m, n, k, dtype});
      }
    }
  }
  return cases;
}

struct Result {
  Case shape;
  double seconds, limit_seconds, median_share;   // best times of all rounds; median of the shares of the rounds
  [[nodiscard]] double share() const { return limit_seconds / seconds; }
};

class Bench {
 public:
  Bench(Isa isa, int threads)
      : isa_(isa),
        pool_(threads),
        memory_(size_t{768} << 20),
        activations_(size_t{64} << 20),
        scratch_(kScratchBytes * static_cast<size_t>(pool_.num_threads())) {
    // As scales in f16 and f32 and as activations: small, but not subnormal, which would be slow.
    constexpr int kHarmless = 0x2c;
    std::memset(memory_.bytes().data(), kHarmless, memory_.bytes().size());
    std::memset(activations_.bytes().data(), kHarmless, activations_.bytes().size());
  }

  [[nodiscard]] Isa isa() const { return isa_; }
  [[nodiscard]] int num_threads() const { return pool_.num_threads(); }

  // Every run reads other weights, so that they come from memory and not from cache.
  [[nodiscard]] Result Measure(const Case& shape, int rounds) {
    const auto bytes = static_cast<size_t>(shape.weight_bytes());
    const size_t stride = (bytes + kAlignment - 1) / kAlignment * kAlignment, copies = memory_.bytes().size() / stride;
    Result result{shape, 1e9, 1e9, 0};
    std::vector<double> shares;
    for (int round = -1; round < rounds; ++round) {   // the first is to warm up
      const double limit = LimitSeconds(shape);
      const double seconds = Run(shape, memory_.bytes().subspan(next_copy_++ % copies * stride, bytes));
      if (round < 0) continue;
      result.seconds = std::min(result.seconds, seconds);
      result.limit_seconds = std::min(result.limit_seconds, limit);
      shares.push_back(limit / seconds);
    }
    std::ranges::nth_element(shares, shares.begin() + rounds / 2);
    result.median_share = shares[static_cast<size_t>(rounds / 2)];
    return result;
  }

 private:
  double LimitSeconds(const Case& shape) {
    constexpr size_t kReadBytes = size_t{64} << 20;
    const size_t start = next_read_++ % (memory_.bytes().size() / kReadBytes) * kReadBytes;
    const double read =
        ReadSeconds(pool_, memory_.bytes().subspan(start, kReadBytes), /*streams=*/4) / static_cast<double>(kReadBytes) * shape.weight_bytes();
    const Peak& fma = FindPeak(isa_ >= Isa::kAvx512 ? "f32 FMA, AVX-512" : "f32 FMA, AVX2");
    const double compute = PeakSeconds(pool_, fma) / fma.operations / pool_.num_threads() * shape.operations();
    return std::max(read, compute);
  }

  double Run(const Case& shape, std::span<std::byte> weights) {
    auto* floats = reinterpret_cast<float*>(activations_.bytes().data());
    const auto take = [&](int64_t rows, int64_t cols) {
      const Tensor tensor{reinterpret_cast<std::byte*>(floats), rows, cols, cols, DType::kF32};
      floats += (rows * cols + kLanes - 1) / kLanes * kLanes;
      return tensor;
    };
    KernelCall call;
    call.operands = {take(shape.m, shape.n), take(shape.m, shape.k), Tensor{weights.data(), shape.n, shape.k, 0, shape.dtype}};
    if (const int64_t bytes = MatMulWorkspaceBytes(shape.m, shape.k, shape.dtype); bytes > 0)
      call.operands[5] = take(1, bytes / static_cast<int64_t>(sizeof(float)));
    for (int s = 0; s <= kSegments; ++s)
      call.params.ints[static_cast<size_t>(matmul_params::kBorders + s)] = shape.k * s / kSegments / kLanes * kLanes;
    const Kernel& kernel = *FindKernel(IsQuantized(shape.dtype) ? "matmul_q" : StrCat("matmul_", shape.dtype), isa_);
    if (const char* problem = kernel.check(call)) throw std::logic_error(StrCat(shape.name(), ": ", problem));
    const StepView step{.num_rows = static_cast<int32_t>(shape.m)};
    const auto start = std::chrono::steady_clock::now();
    for (int stage = 0; stage < kernel.num_stages; ++stage) RunStage(kernel, call, step, stage);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  void RunStage(const Kernel& kernel, const KernelCall& call, const StepView& step, int stage) {
    auto body = [&, scratch = scratch_.bytes().data()](int64_t task, int worker) {
      kernel.run(call, step, stage, task, scratch + kScratchBytes * static_cast<size_t>(worker));
    };
    pool_.ParallelFor(
        kernel.num_tasks(call, step, stage),
        [](void* context, int64_t task, int worker) noexcept { (*static_cast<decltype(body)*>(context))(task, worker); }, &body);
  }

  Isa isa_;
  ThreadPool pool_;
  ColdMemory memory_, activations_, scratch_;
  size_t next_copy_ = 0, next_read_ = 0;
};

void PrintRow(const Result& r) {
  std::printf("%-32s %9.3f ms %8.1f GB/s %8.1f GFLOP/s   %3.0f %% (median %3.0f %%)\n", r.shape.name().c_str(), 1e3 * r.seconds,
              1e-9 * r.shape.weight_bytes() / r.seconds, 1e-9 * r.shape.operations() / r.seconds, 100 * r.share(), 100 * r.median_share);
  std::fflush(stdout);
}

void PrintJson(const Bench& bench, const std::vector<Result>& results) {
  std::printf("{\"isa\": \"%s\", \"threads\": %d, \"results\": [", Name(bench.isa()).data(), bench.num_threads());
  const char* separator = "\n";
  for (const Result& r : results) {
    std::printf("%s  {\"name\": \"%s\", \"seconds\": %.9g, \"bytes_per_second\": %.6g, \"flops\": %.6g, \"share\": %.4f, \"median_share\": %.4f}",
                separator, r.shape.name().c_str(), r.seconds, r.shape.weight_bytes() / r.seconds, r.shape.operations() / r.seconds, r.share(),
                r.median_share);
    separator = ",\n";
  }
  std::printf("\n]}\n");
}

Options ParseOptions(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--json") {
      options.is_json = true;
      continue;
    }
    if (i + 1 == argc) throw Error(ErrorCode::kInvalidArgument, StrCat(flag, " is unknown or lacks its value"));
    const char* value = argv[++i];
    if (flag == "--isa")
      options.isa = value;
    else if (flag == "--filter")
      options.filter = value;
    else if (flag == "--threads")
      options.threads = std::atoi(value);
    else if (flag == "--rounds")
      options.rounds = std::max(1, std::atoi(value));
    else
      throw Error(ErrorCode::kInvalidArgument, StrCat("unknown option ", flag));
  }
  return options;
}

void RunAll(const Options& options) {
  Bench bench(options.isa.empty() ? IsaFromEnvironment() : ChooseIsa(options.isa), options.threads);
  if (!options.is_json) std::printf("%s, %d threads; weights a run: other ones each time\n", Name(bench.isa()).data(), bench.num_threads());
  std::vector<Result> results;
  for (const Case& shape : AllCases()) {
    if (shape.name().find(options.filter) == std::string::npos) continue;
    results.push_back(bench.Measure(shape, options.rounds));
    if (!options.is_json) PrintRow(results.back());
  }
  if (options.is_json) PrintJson(bench, results);
}

}  // namespace
}  // namespace intaglio::benchmarks

int main(int argc, char** argv) {
  try {
    intaglio::benchmarks::RunAll(intaglio::benchmarks::ParseOptions(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kernel_benchmark: %s\n", error.what());
    return 1;
  }
}
