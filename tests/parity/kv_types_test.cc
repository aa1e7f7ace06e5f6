// What a KV cache of bf16 or int8 costs in accuracy, beside one of f32; and that ranks keep its bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/parity/exported.h"

namespace intaglio::test {
namespace {

Logits LogitsOf(const std::filesystem::path& bundle, std::span<const int32_t> tokens) {
  const auto engine = Engine::Load(bundle, {.threads = 2, .isa = {}, .verify_checksums = false});
  Logits logits;
  Append(*engine, StepKind::kContextEncoding, engine->AcquireSlot().value(), tokens, 16, logits);
  return logits;
}

// Kullback-Leibler divergence of softmax(q) from softmax(p), in nats.
double Divergence(const std::vector<float>& p, const std::vector<float>& q) {
  const auto log_sum = [](const std::vector<float>& x) {
    double sum = 0;
    for (float value : x) sum += std::exp(double{value});
    return std::log(sum);
  };
  const double log_p = log_sum(p), log_q = log_sum(q);
  double divergence = 0;
  for (size_t i = 0; i < p.size(); ++i) divergence += std::exp(p[i] - log_p) * ((p[i] - log_p) - (q[i] - log_q));
  return divergence;
}

class KvTypes : public testing::TestWithParam<const char*> {};

// The median over positions: in a mixture of random experts a router near a tie may choose another. Measured: at most 4e-4 and 4e-3.
TEST_P(KvTypes, StayCloseToF32) {
  const std::vector<int32_t> tokens = LongSequence(GetParam());
  const Logits exact = LogitsOf(ExportedBundle(GetParam(), "f32"), tokens);
  for (const auto& [kv_dtype, tolerance] : {std::pair{"bf16", 1e-3}, {"int8", 1e-2}}) {
    std::vector<double> divergences;
    bool is_other = false;
    for (const auto& [position, logits] : LogitsOf(ExportedBundle(GetParam(), "f32", {}, kv_dtype), tokens)) {
      divergences.push_back(Divergence(exact.at(position), logits));
      is_other = is_other || logits != exact.at(position);
    }
    std::ranges::sort(divergences);
    EXPECT_LE(divergences[divergences.size() / 2], tolerance) << kv_dtype;
    EXPECT_TRUE(is_other) << kv_dtype << " is not used";
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, KvTypes,
                         testing::Values("llama-tiny", "gemma2-tiny", "gemma3-text-tiny", "gpt-oss-tiny", "llama4-text-tiny", "deepseek-v3-tiny",
                                         "qwen3-next-tiny"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST(KvTypesOnRanks, TwoRanksHaveTheBitsOfOne) {
  const std::vector<int32_t> tokens = LongSequence("llama-tiny");
  for (const char* kv_dtype : {"bf16", "int8"}) {
    const Logits one = LogitsOf(ExportedBundle("llama-tiny", "f32", {}, kv_dtype), tokens);
    const Logits two = LogitsOf(ExportedBundle("llama-tiny", "f32", {.tp = 2}, kv_dtype), tokens);
    for (const auto& [position, logits] : one) {
      EXPECT_EQ(std::memcmp(logits.data(), two.at(position).data(), logits.size() * sizeof(float)), 0) << kv_dtype << ", position " << position;
    }
  }
}

}  // namespace
}  // namespace intaglio::test
