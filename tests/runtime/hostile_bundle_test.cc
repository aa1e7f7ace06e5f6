// Bundles that lie: bytes changed at random, checksums not looked at. Loading must refuse with an Error or give an engine that computes
// something; it must never crash, hang or write outside its memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>

#include "exported.h"
#include "intaglio/engine.h"
#include "intaglio/error.h"

namespace intaglio {
namespace {

std::string ReadAll(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteAll(const std::filesystem::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

// One prompt chunk and one token; the ids may be nonsense.
void Use(Engine& engine) {
  const int32_t slot = engine.AcquireSlot().value();
  const std::vector<int32_t> prompt{5, 6, 7}, next{8};
  const SamplingParams sampling{.temperature = 0.5f, .repetition_penalty = 1.1f, .num_logprobs = 3};
  const StepSequence chunk{.slot = slot, .tokens = prompt, .outputs = 1, .sampling = &sampling},
      token{.slot = slot, .tokens = next, .outputs = 1, .sampling = nullptr};
  (void)engine.Step(StepKind::kContextEncoding, {&chunk, 1});
  (void)engine.Step(StepKind::kTokenGeneration, {&token, 1});
}

struct Case {
  const char *fixture, *file;
};

class HostileBundle : public testing::TestWithParam<Case> {
 protected:
  HostileBundle() {
    const std::filesystem::path bundle = test::ExportedBundle(GetParam().fixture);
    bundle_ = bundle.parent_path() / "hostile";
    std::filesystem::remove_all(bundle_);
    std::filesystem::copy(bundle, bundle_);
  }
  std::filesystem::path bundle_;
};

TEST_P(HostileBundle, IsRefusedOrHarmless) {
  const std::string whole = ReadAll(bundle_ / GetParam().file);
  const auto seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  int num_refused = 0;
  constexpr int kRounds = 200;
  for (int round = 0; round < kRounds; ++round) {
    std::string bytes = whole;
    for (auto changes = 1 + random() % 3; changes > 0; --changes) bytes[random() % bytes.size()] = static_cast<char>(random() % 256);
    WriteAll(bundle_ / GetParam().file, bytes);
    try {
      Use(*Engine::Load(bundle_, {.threads = 1, .isa = {}, .verify_checksums = false}));
    } catch (const Error&) { ++num_refused; }
  }
  EXPECT_GT(num_refused, 0);
}

TEST_P(HostileBundle, IsRefusedWhenCutShort) {
  const std::string whole = ReadAll(bundle_ / GetParam().file);
  for (size_t size : {size_t{0}, size_t{1}, whole.size() / 2, whole.size() - 2}) {
    WriteAll(bundle_ / GetParam().file, whole.substr(0, size));
    EXPECT_THROW((void)Engine::Load(bundle_, {.threads = 1, .isa = {}, .verify_checksums = false}), Error) << size << " bytes";
  }
}

// Attention alone; a recurrent state beside it.
constexpr Case kCases[] = {
    {"qwen3-tiny", "manifest.json"}, {"qwen3-tiny", "plan.bin"}, {"falcon-h1-tiny", "manifest.json"}, {"falcon-h1-tiny", "plan.bin"}};
INSTANTIATE_TEST_SUITE_P(Files, HostileBundle, testing::ValuesIn(kCases), [](const auto& info) {
  std::string name = std::string(info.param.fixture) + "_" + info.param.file;
  std::ranges::replace_if(name, [](char c) { return c == '-' || c == '.'; }, '_');
  return name;
});

}  // namespace
}  // namespace intaglio
