// A plan: what one (phase, bucket) computes, as a list of kernel calls on fixed offsets. Written by the compiler, walked by a device.
// This is half of the contract between the two (the other half is manifest.h); docs/BUNDLE_FORMAT.md has the bytes.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/phase.h"

namespace intaglio::bundle {

// Where an operand lives. Stored: do not renumber.
enum class Space : uint8_t { kNone = 0, kArena = 1, kWeights = 2, kKvCache = 3 };

// A matrix at a fixed offset: `rows` x `cols`, `stride` elements between rows. `bytes` is its whole extent, so a reader can check it
// against its space without knowing the kernel. kNone: an optional operand that is absent.
struct Operand {
  Space space = Space::kNone;
  DType dtype = DType::kF32;
  uint64_t offset = 0, bytes = 0;
  int64_t rows = 0, cols = 0, stride = 0;
  bool operator==(const Operand&) const = default;
};

struct Call {
  std::string kernel;               // stable name, as in kernels.inc
  std::string label;                // what it computes, for people: "layers.3.mlp.down_proj"
  std::vector<Operand> operands;
  std::array<int64_t, 16> ints{};   // kernels/params.h
  std::array<float, 4> floats{};
  bool operator==(const Call&) const = default;
};

// An intermediate value kept to the end of the step, for parity tests.
struct Probe {
  std::string name;
  Operand operand;
  bool operator==(const Probe&) const = default;
};

struct Plan {
  Phase phase = Phase::kContextEncoding;
  int32_t rows = 0;      // capacity: rows of a step
  int32_t outputs = 0;   // capacity: rows whose logits are computed
  uint64_t arena_bytes = 0;
  Operand logits;        // f32 [outputs, vocabulary]; of an embedder its embeddings, f32 [outputs, dim]
  Operand ids;           // i32 [outputs, 1]; an embedder has none
  Operand logprobs;      // f32 [outputs, kLogprobCols]; an embedder has none
  std::vector<Call> calls;
  std::vector<Probe> probes;
  bool operator==(const Plan&) const = default;
};

// plan.bin. Parse throws Error kDataLoss / kUnsupported (another version) naming `where`; it never reads past `bytes`.
[[nodiscard]] std::vector<std::byte> SerializePlans(std::span<const Plan> plans);
[[nodiscard]] std::vector<Plan> ParsePlans(std::span<const std::byte> bytes, const std::string& where);
// For people: one line a call.
[[nodiscard]] std::string ToString(const Plan& plan);

}  // namespace intaglio::bundle
