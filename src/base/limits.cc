#include "base/limits.h"

#include <immintrin.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>

#include "base/assert.h"

namespace intaglio {
namespace {

#define INTAGLIO_TARGET(isa) __attribute__((target(isa)))

constexpr int kChains = 12;           // independent accumulators in registers, enough to hide any latency
constexpr int64_t kLoops = 500'000;

// A loop of `step` on every chain, whose other operands are m and k. The empty asm keeps the compiler from merging equal chains and from
// hoisting what does not change.
#define INTAGLIO_PEAK(name, isa, type, constraint, step)         \
  INTAGLIO_TARGET(isa) void name() {                             \
    type chains[kChains] = {}, m = {}, k = {};                   \
    for (int64_t i = 0; i < kLoops; ++i) {                       \
      _Pragma("GCC unroll 16") for (type & a : chains) {         \
        asm volatile("" : "+" constraint(m), "+" constraint(k)); \
        a = step;                                                \
        asm volatile("" : "+" constraint(a));                    \
      }                                                          \
    }                                                            \
  }
INTAGLIO_PEAK(FmaAvx2, "avx2,fma", __m256, "x", _mm256_fmadd_ps(a, m, k))
INTAGLIO_PEAK(Int8Avx2, "avx2", __m256i, "x", _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_maddubs_epi16(m, _mm256_sign_epi8(k, m)), k)))
INTAGLIO_PEAK(Int16Avx2, "avx2", __m256i, "x", _mm256_add_epi32(a, _mm256_madd_epi16(m, k)))
INTAGLIO_PEAK(Int4Avx2, "avx2", __m256i, "x", _mm256_add_epi16(a, _mm256_maddubs_epi16(m, k)))
INTAGLIO_PEAK(FmaAvx512, "avx512f", __m512, "v", _mm512_fmadd_ps(a, m, k))
INTAGLIO_PEAK(Bf16Dot, "avx512f,avx512bf16", __m512, "v", _mm512_dpbf16_ps(a, (__m512bh)m, (__m512bh)k))
INTAGLIO_PEAK(Int16Avx512, "avx512f,avx512bw", __m512i, "v", _mm512_add_epi32(a, _mm512_madd_epi16(m, k)))
INTAGLIO_PEAK(Int8AvxVnni, "avx2,avxvnni", __m256i, "x", _mm256_dpbusd_avx_epi32(a, m, k))
INTAGLIO_PEAK(Int8Vnni, "avx512f,avx512vnni", __m512i, "v", _mm512_dpbusd_epi32(a, m, k))
#undef INTAGLIO_PEAK

constexpr double kSteps = static_cast<double>(kChains) * kLoops;
constexpr Peak kPeaks[] = {
    {"f32 FMA, AVX2", 16 * kSteps, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }, FmaAvx2},
    {"int8 sign+maddubs+madd+add, AVX2", 64 * kSteps, [] { return __builtin_cpu_supports("avx2") != 0; }, Int8Avx2},
    {"int8 as int16 madd+add, AVX2", 32 * kSteps, [] { return __builtin_cpu_supports("avx2") != 0; }, Int16Avx2},
    {"int4 maddubs+add, AVX2", 64 * kSteps, [] { return __builtin_cpu_supports("avx2") != 0; }, Int4Avx2},
    {"f32 FMA, AVX-512", 32 * kSteps, [] { return __builtin_cpu_supports("avx512f") != 0; }, FmaAvx512},
    {"bf16 dot, AVX-512", 64 * kSteps, [] { return __builtin_cpu_supports("avx512bf16") != 0; }, Bf16Dot},
    {"int8 as int16 madd+add, AVX-512", 64 * kSteps, [] { return __builtin_cpu_supports("avx512bw") != 0; }, Int16Avx512},
    {"int8 dot, AVX-VNNI", 64 * kSteps, [] { return __builtin_cpu_supports("avxvnni") != 0; }, Int8AvxVnni},
    {"int8 dot, VNNI", 128 * kSteps, [] { return __builtin_cpu_supports("avx512vnni") != 0; }, Int8Vnni},
};

template <typename Body>
double Seconds(ThreadPool& pool, Body body) {
  const auto start = std::chrono::steady_clock::now();
  pool.ParallelFor(pool.num_threads(), [](void* context, int64_t task, int) noexcept { (*static_cast<Body*>(context))(task); }, &body);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// One cache line of each stream in turn. Streams a large power of two apart would meet in the same memory bank.
void Read(std::span<const std::byte> bytes, size_t streams) {
  constexpr size_t kBlock = 64 << 10, kLine = 64;
  for (size_t window = 0; window + kBlock * streams <= bytes.size(); window += kBlock * streams) {
    for (size_t line = 0; line < kBlock; line += kLine) {
      for (size_t s = 0; s < streams; ++s) {
        const auto* p = reinterpret_cast<const __m128i*>(bytes.data() + window + s * kBlock + line);
        __m128i a = _mm_load_si128(p), b = _mm_load_si128(p + 1), c = _mm_load_si128(p + 2), d = _mm_load_si128(p + 3);
        asm volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d));
      }
    }
  }
}

}  // namespace

ColdMemory::ColdMemory(size_t num_bytes) : num_bytes_(num_bytes), data_(nullptr, Unmap{num_bytes}) {
  void* data = mmap(nullptr, num_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) throw std::bad_alloc();
  madvise(data, num_bytes, MADV_HUGEPAGE);
  std::memset(data, 1, num_bytes);
  data_.reset(static_cast<std::byte*>(data));
}

void ColdMemory::Unmap::operator()(std::byte* data) const { munmap(data, num_bytes); }

std::span<const Peak> Peaks() { return kPeaks; }

const Peak& FindPeak(std::string_view name) {
  const auto* peak = std::ranges::find(kPeaks, name, &Peak::name);
  Assert(peak != std::end(kPeaks));
  return *peak;
}

double PeakSeconds(ThreadPool& pool, const Peak& peak) {
  return Seconds(pool, [&](int64_t) { peak.run(); });
}

double ReadSeconds(ThreadPool& pool, std::span<const std::byte> bytes, int streams) {
  constexpr size_t kPage = 4096;
  const size_t share = bytes.size() / static_cast<size_t>(pool.num_threads()) / kPage * kPage;
  return Seconds(pool, [&](int64_t task) { Read(bytes.subspan(share * static_cast<size_t>(task), share), static_cast<size_t>(streams)); });
}

}  // namespace intaglio
