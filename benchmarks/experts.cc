// The expert part of a mixture's layer, from router logits to the sum over a row's experts, with routing forced onto so many different experts:
// what a step costs must follow the experts it uses, not the 64 that lie in memory, nor the rows of its bucket. Each line times the same live
// rows in a bucket that just holds them and in a larger one. Limits and layers are measured in turns, because both drift; times are the best
// of all rounds. All times, the limits' too, are the threads' processor time over their number: these are long runs, and wall time would tell
// what else a shared machine had to do. Sleep at barriers is not in it, and where others take the cores in turns the threads do not share the
// memory's bandwidth as they should: on such a machine, measure one thread.
//
//   experts_benchmark [threads]
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <vector>

#include "base/limits.h"
#include "base/strings.h"
#include "kernels/pack.h"
#include "kernels/params.h"
#include "kernels/registry.h"
#include "kernels/workspace.h"

namespace intaglio::benchmarks {
namespace {

using namespace kernels;

constexpr int64_t kExperts = 64, kTopK = 8, kHidden = 2048, kIntermediate = 768;   // near Qwen3-30B-A3B's layer, with half its experts
constexpr int64_t kExpertWeights = 3 * kHidden * kIntermediate;                    // gate, up, down
constexpr int kRounds = 9;
constexpr size_t kArenaBytes = size_t{160} << 20, kReadBytes = size_t{64} << 20, kReadBlocks = 4;

// Processor time of `body`, which runs on all threads of the pool, over their number.
template <typename Body>
double ProcessorSeconds(const ThreadPool& pool, Body body) {
  const auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  body();
  return (now() - start) / pool.num_threads();
}

struct Case {
  DType dtype;
  int64_t rows, used;
  // Experts of each row: eight, fewer where fewer are to be used, more where these rows could not reach all of them otherwise.
  [[nodiscard]] int64_t top_k() const { return std::max(std::min(kTopK, used), used / rows); }
  [[nodiscard]] int64_t larger_bucket() const { return rows < 64 ? 64 : 2 * rows; }
  [[nodiscard]] double weight_bytes() const { return static_cast<double>(used * PackedBytes(kExpertWeights / kHidden, kHidden, dtype)); }
  [[nodiscard]] double operations() const { return 2.0 * static_cast<double>(rows * top_k() * kExpertWeights); }
};

// The calls of one layer as a plan has them, in a bucket of `bucket` rows.
class Layer {
 public:
  Layer(Isa isa, const Case& c, int64_t bucket, std::byte* weights, std::span<std::byte> arena) : isa_(isa), case_(c), arena_(arena) {
    const int64_t k = c.top_k(), choices = bucket * k;
    logits_ = Take(bucket, kExperts);
    offsets_ = Take(1, kExperts + 1, DType::kI32);
    const Tensor x = Take(bucket, kHidden), ids = Take(bucket, k, DType::kI32), share = Take(bucket, k), positions = Take(bucket, k, DType::kI32);
    const Tensor gathered = Take(choices, kHidden), gate_up = Take(choices, 2 * kIntermediate), activated = Take(choices, kIntermediate),
                 down = Take(choices, kHidden), out = Take(bucket, kHidden);
    workspace_ = Take(1, MatMulWorkspaceBytes(choices, kHidden, DType::kBF16) / static_cast<int64_t>(sizeof(float)));
    std::fill_n(x.f32(), bucket * kHidden, 0.1f);

    Params& route = Emit("route", {ids, share, logits_});
    route.ints[route_params::kNormalise] = route.ints[route_params::kNumGroups] = route.ints[route_params::kTopGroups] = 1;
    route.floats[route_params::kScale] = 1.0f;
    Emit("expert_group", {positions, offsets_, ids});
    Emit("expert_gather", {gathered, x, positions});
    EmitMatMul(gate_up, gathered, weights);
    Emit("gated_silu", {activated, gate_up}).ints[kRowMultiple] = k;
    EmitMatMul(down, activated, weights + kExperts * PackedBytes(2 * kIntermediate, kHidden, c.dtype));
    Emit("expert_combine", {out, down, positions, ids, share}).ints[expert_params::kNumExperts] = kExperts;
    for (const Call& call : calls_) {
      if (const char* problem = call.kernel->check(call.call)) throw std::logic_error(StrCat(call.kernel->name, ": ", problem));
    }
  }

  // Forces the rows onto the experts first, first + 64 / used, ..., in turns.
  void ChooseExperts(int64_t first) {
    for (int64_t row = 0, next = 0; row < case_.rows; ++row) {
      std::fill_n(logits_.f32(row), kExperts, 0.0f);
      for (int64_t j = 0; j < case_.top_k(); ++j, ++next) logits_.f32(row)[(first + next % case_.used * (kExperts / case_.used)) % kExperts] = 1.0f;
    }
  }

  void Run(ThreadPool& pool, std::byte* scratch) {
    const StepView step{.num_rows = static_cast<int32_t>(case_.rows)};
    for (const auto& [kernel, call] : calls_) {
      for (int stage = 0; stage < kernel->num_stages; ++stage) {
        auto body = [&, stage](int64_t task, int worker) {
          kernel->run(call, step, stage, task, scratch + kScratchBytes * static_cast<size_t>(worker));
        };
        pool.ParallelFor(
            kernel->num_tasks(call, step, stage),
            [](void* context, int64_t task, int worker) noexcept { (*static_cast<decltype(body)*>(context))(task, worker); }, &body);
      }
    }
  }

  // Experts that had rows in the last run.
  [[nodiscard]] int64_t num_used() const {
    int64_t used = 0;
    for (int64_t e = 0; e < kExperts; ++e) used += offsets_.i32()[e] < offsets_.i32()[e + 1] ? 1 : 0;
    return used;
  }

 private:
  struct Call {
    const Kernel* kernel;
    KernelCall call;
  };

  Tensor Take(int64_t rows, int64_t cols, DType dtype = DType::kF32) {
    const int64_t stride = (cols + kLanes - 1) / kLanes * kLanes;
    const auto bytes = static_cast<size_t>(rows * stride) * sizeof(float);
    if (bytes > arena_.size()) throw std::logic_error("the layer does not fit the arena");
    const Tensor tensor{arena_.data(), rows, cols, stride, dtype};
    arena_ = arena_.subspan(bytes);
    return tensor;
  }

  Params& Emit(std::string_view name, std::initializer_list<Tensor> operands) {
    Call& call = calls_.emplace_back(FindKernel(name, isa_), KernelCall{});
    std::ranges::copy(operands, call.call.operands.begin());
    return call.call.params;
  }

  void EmitMatMul(const Tensor& out, const Tensor& x, std::byte* weights) {
    const Tensor weight{weights, kExperts * out.cols, x.cols, x.cols, case_.dtype};
    Params& params = Emit(StrCat("expert_matmul_", case_.dtype), {out, x, weight, offsets_, {}, workspace_});
    for (int s = 0; s <= kSegments; ++s) params.ints[static_cast<size_t>(expert_params::kBorders + s)] = x.cols * s / kSegments;
    params.ints[expert_params::kNumExperts] = kExperts;
    params.ints[kRowMultiple] = case_.top_k();
  }

  Isa isa_;
  Case case_;
  std::span<std::byte> arena_;   // what is left of it
  Tensor logits_, offsets_, workspace_;
  std::vector<Call> calls_;
};

// Best times of all rounds, in seconds: the layer in the bucket that just holds the rows and in the larger one; the weights of the experts used
// read once at the machine's bandwidth; the multiplications of live rows at its peak.
struct Times {
  double exact = 1e9, larger = 1e9, read = 1e9, compute = 1e9;
  void Improve(const Times& now) {
    exact = std::min(exact, now.exact);
    larger = std::min(larger, now.larger);
    read = std::min(read, now.read);
    compute = std::min(compute, now.compute);
  }
};

class Bench {
 public:
  explicit Bench(int threads)
      : isa_(IsaFromEnvironment()),
        pool_(threads),
        weights_(static_cast<size_t>(kExperts * kExpertWeights) * sizeof(float)),
        arena_(kArenaBytes),
        other_(kReadBlocks * kReadBytes),
        scratch_(kScratchBytes * static_cast<size_t>(pool_.num_threads())) {
    auto* halves = reinterpret_cast<uint16_t*>(weights_.bytes().data());   // 0.03 to 0.12, read as bf16 and as f32
    for (size_t i = 0; i < weights_.bytes().size() / 2; ++i) halves[i] = static_cast<uint16_t>(0x3d00 + i % 251);
  }

  void Report() {
    std::printf("%s, %d threads; %ld experts of %ld x %ld; weights a run: other ones each time\n", Name(isa_).data(), pool_.num_threads(), kExperts,
                kHidden, kIntermediate);
    for (DType dtype : {DType::kBF16, DType::kF32}) {
      for (int64_t rows : {1, 4, 16, 256}) ReportRows(dtype, rows);
    }
  }

 private:
  void ReportRows(DType dtype, int64_t rows) {
    std::vector<Case> cases;
    for (int64_t used = kExperts; used >= 1; used /= 2) cases.push_back({dtype, rows, used});
    std::vector<Times> best(cases.size());
    for (int round = -1; round < kRounds; ++round) {   // the first is to warm up
      for (size_t i = 0; i < cases.size(); ++i) {
        const Case& c = cases[i];
        const Times now{.exact = Seconds(c, rows), .larger = Seconds(c, c.larger_bucket()), .read = ReadLimit(c), .compute = ComputeLimit(c)};
        if (round >= 0) best[i].Improve(now);
      }
    }
    for (size_t i = 0; i < cases.size(); ++i) Print(cases[i], best[i], best[0]);
  }

  static void Print(const Case& c, const Times& t, const Times& all) {
    std::printf("%-4s %3ld rows, top %2ld, %2ld experts %9.3f ms, bucket of %3ld %9.3f ms %7.1f GB/s  %3.0f %% of %-7s  %5.1f %% of all experts\n",
                StrCat(c.dtype).c_str(), c.rows, c.top_k(), c.used, 1e3 * t.exact, c.larger_bucket(), 1e3 * t.larger,
                1e-9 * c.weight_bytes() / t.exact, 100 * std::max(t.read, t.compute) / t.exact, t.read > t.compute ? "read" : "compute",
                100 * t.exact / all.exact);
    std::fflush(stdout);
  }

  // Every run uses other experts where not all are used, after a read of other memory: weights come from memory, not from cache.
  double Seconds(const Case& c, int64_t bucket) {
    Layer layer(isa_, c, bucket, weights_.bytes().data(), arena_.bytes());
    layer.ChooseExperts(next_expert_++ % kExperts);
    (void)Read();
    const double seconds = ProcessorSeconds(pool_, [&] { layer.Run(pool_, scratch_.bytes().data()); });
    if (layer.num_used() != c.used) throw std::logic_error(StrCat(layer.num_used(), " experts were used, not ", c.used));
    return seconds;
  }

  double Read() {
    const auto bytes = other_.bytes().subspan(next_read_++ % kReadBlocks * kReadBytes, kReadBytes);
    return ProcessorSeconds(pool_, [&] { (void)ReadSeconds(pool_, bytes, /*streams=*/4); });
  }
  double ReadLimit(const Case& c) { return Read() / static_cast<double>(kReadBytes) * c.weight_bytes(); }

  double ComputeLimit(const Case& c) {
    const Peak& fma = FindPeak(isa_ == Isa::kAvx512 ? "f32 FMA, AVX-512" : "f32 FMA, AVX2");
    return ProcessorSeconds(pool_, [&] { (void)PeakSeconds(pool_, fma); }) / fma.operations / pool_.num_threads() * c.operations();
  }

  Isa isa_;
  ThreadPool pool_;
  ColdMemory weights_, arena_, other_, scratch_;
  int64_t next_expert_ = 0;
  size_t next_read_ = 0;
};

}  // namespace
}  // namespace intaglio::benchmarks

int main(int argc, char** argv) {
  try {
    intaglio::benchmarks::Bench(argc > 1 ? std::atoi(argv[1]) : 0).Report();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "experts_benchmark: %s\n", error.what());
    return 1;
  }
}
