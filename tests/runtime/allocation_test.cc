// Counts every allocation of this program, so that "no allocation per step" is a fact and not a hope.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "exported.h"
#include "intaglio/engine.h"

namespace {
std::atomic<int64_t> num_allocations{0};

void* AllocateOrNull(size_t bytes, size_t alignment) noexcept {
  num_allocations.fetch_add(1, std::memory_order_relaxed);
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void* Allocate(size_t bytes, size_t alignment) {
  void* memory = AllocateOrNull(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
}  // namespace

void* operator new(size_t bytes) { return Allocate(bytes, alignof(std::max_align_t)); }
void* operator new[](size_t bytes) { return Allocate(bytes, alignof(std::max_align_t)); }
void* operator new(size_t bytes, std::align_val_t alignment) { return Allocate(bytes, static_cast<size_t>(alignment)); }
void* operator new[](size_t bytes, std::align_val_t alignment) { return Allocate(bytes, static_cast<size_t>(alignment)); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return AllocateOrNull(bytes, alignof(std::max_align_t)); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return AllocateOrNull(bytes, alignof(std::max_align_t)); }
void* operator new(size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return AllocateOrNull(bytes, static_cast<size_t>(alignment));
}
void* operator new[](size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return AllocateOrNull(bytes, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace intaglio {
namespace {

TEST(Allocation, AStepMakesNone) {
  const auto engine = Engine::Load(test::ExportedBundle("mistral-tiny", /*speculation=*/3), {.threads = 2, .isa = {}, .verify_checksums = true});
  const int32_t first = engine->AcquireSlot().value(), second = engine->AcquireSlot().value();
  const std::vector<int32_t> chunk(40, 3), proposed{5, 6, 7}, one{9};
  const SamplingParams sampling{.temperature = 0.7f, .top_p = 0.9f, .repetition_penalty = 1.2f, .top_k = 40, .num_logprobs = 20, .seed = 3};
  const StepSequence prompt{.slot = first, .tokens = chunk, .outputs = 1, .sampling = nullptr};
  const StepSequence speculation{.slot = first, .tokens = proposed, .outputs = 3, .sampling = &sampling};
  const StepSequence decode[] = {{.slot = first, .tokens = one, .outputs = 1, .sampling = &sampling},
                                 {.slot = second, .tokens = one, .outputs = 1, .sampling = nullptr}};
  const int64_t before = num_allocations;
  for (int i = 0; i < 3; ++i) {  // slides the window across blocks
    (void)engine->Step(StepKind::kContextEncoding, {&prompt, 1});
    (void)engine->Step(StepKind::kSpeculation, {&speculation, 1});
    engine->Truncate(first, engine->length(first) - 2);
    (void)engine->Step(StepKind::kTokenGeneration, decode);
  }
  EXPECT_EQ(num_allocations - before, 0);
}

TEST(Allocation, ComputingALostStateAgainMakesNone) {
  const auto engine = Engine::Load(test::ExportedBundle("falcon-h1-tiny", /*speculation=*/3), {.threads = 2, .isa = {}, .verify_checksums = true});
  const int32_t slot = engine->AcquireSlot().value();
  const std::vector<int32_t> chunk(40, 3), one{9};
  const StepSequence prompt{.slot = slot, .tokens = chunk, .outputs = 1, .sampling = nullptr};
  const StepSequence decode{.slot = slot, .tokens = one, .outputs = 1, .sampling = nullptr};
  const int64_t before = num_allocations;
  (void)engine->Step(StepKind::kContextEncoding, {&prompt, 1});
  engine->Truncate(slot, 20);
  (void)engine->Step(StepKind::kTokenGeneration, {&decode, 1});
  EXPECT_EQ(engine->length(slot), 21);
  EXPECT_EQ(num_allocations - before, 0);
}

}  // namespace
}  // namespace intaglio
