#include "bundle/plan.h"

#include <iomanip>
#include <sstream>

#include "base/assert.h"
#include "base/hash.h"
#include "bundle/byte_stream.h"

namespace intaglio::bundle {
namespace {

constexpr uint64_t kMagic = 0x4e414c504f494c47;  // "GLIOPLAN" in the file
constexpr uint32_t kVersion = 1;
constexpr size_t kHashBytes = 32;                // HashHex of everything before it
constexpr size_t kHeaderBytes = sizeof kMagic + sizeof kVersion;
// The least that each record takes.
constexpr size_t kNumber = 8, kCount = 4;
constexpr size_t kOperandBytes = 2 + 5 * kNumber;
constexpr size_t kCallBytes = 3 * kCount + 16 * kNumber + 4 * sizeof(float);
constexpr size_t kProbeBytes = kCount + kOperandBytes;
constexpr size_t kPlanBytes = 1 + 2 * kCount + kNumber + 3 * kOperandBytes + 2 * kCount;

void Write(ByteWriter& out, const Operand& operand) {
  out.Put(static_cast<uint8_t>(operand.space));
  out.Put(static_cast<uint8_t>(operand.dtype));
  for (uint64_t number : {operand.offset, operand.bytes}) out.Put(number);
  for (int64_t number : {operand.rows, operand.cols, operand.stride}) out.Put(number);
}

Operand ReadOperand(ByteReader& in) {
  Operand operand;
  const auto space = in.Get<uint8_t>(), dtype = in.Get<uint8_t>();
  Require(space <= static_cast<uint8_t>(Space::kKvCache), ErrorCode::kDataLoss, in.where(), ": unknown memory space ", int{space});
  const bool is_known =
      dtype <= static_cast<uint8_t>(DType::kI16) || (dtype >= static_cast<uint8_t>(DType::kQ8_0) && dtype <= static_cast<uint8_t>(DType::kMxfp4));
  Require(is_known, ErrorCode::kDataLoss, in.where(), ": unknown element type ", int{dtype});
  operand.space = static_cast<Space>(space);
  operand.dtype = static_cast<DType>(dtype);
  operand.offset = in.Get<uint64_t>();
  operand.bytes = in.Get<uint64_t>();
  operand.rows = in.Get<int64_t>();
  operand.cols = in.Get<int64_t>();
  operand.stride = in.Get<int64_t>();
  return operand;
}

void Write(ByteWriter& out, const Call& call) {
  out.PutString(call.kernel);
  out.PutString(call.label);
  out.Put(static_cast<uint32_t>(call.operands.size()));
  for (const Operand& operand : call.operands) Write(out, operand);
  for (int64_t number : call.ints) out.Put(number);
  for (float number : call.floats) out.Put(number);
}

Call ReadCall(ByteReader& in) {
  Call call{.kernel = in.GetString(), .label = in.GetString(), .operands = {}, .ints = {}, .floats = {}};
  call.operands.resize(in.GetCount(kOperandBytes));
  for (Operand& operand : call.operands) operand = ReadOperand(in);
  for (int64_t& number : call.ints) number = in.Get<int64_t>();
  for (float& number : call.floats) number = in.Get<float>();
  return call;
}

void Write(ByteWriter& out, const Plan& plan) {
  out.Put(static_cast<uint8_t>(plan.phase));
  out.Put(plan.rows);
  out.Put(plan.outputs);
  out.Put(plan.arena_bytes);
  for (const Operand* operand : {&plan.logits, &plan.ids, &plan.logprobs}) Write(out, *operand);
  out.Put(static_cast<uint32_t>(plan.calls.size()));
  for (const Call& call : plan.calls) Write(out, call);
  out.Put(static_cast<uint32_t>(plan.probes.size()));
  for (const Probe& probe : plan.probes) {
    out.PutString(probe.name);
    Write(out, probe.operand);
  }
}

Plan ReadPlan(ByteReader& in) {
  Plan plan;
  const auto phase = in.Get<uint8_t>();
  Require(phase < kPhases.size(), ErrorCode::kDataLoss, in.where(), ": unknown phase ", int{phase});
  plan.phase = static_cast<Phase>(phase);
  plan.rows = in.Get<int32_t>();
  plan.outputs = in.Get<int32_t>();
  Require(plan.rows >= 1 && plan.outputs >= 1 && plan.outputs <= plan.rows, ErrorCode::kDataLoss, in.where(), ": a plan of ", plan.rows, " rows and ",
          plan.outputs, " outputs");
  plan.arena_bytes = in.Get<uint64_t>();
  for (Operand* operand : {&plan.logits, &plan.ids, &plan.logprobs}) *operand = ReadOperand(in);
  plan.calls.resize(in.GetCount(kCallBytes));
  for (Call& call : plan.calls) call = ReadCall(in);
  plan.probes.resize(in.GetCount(kProbeBytes));
  for (Probe& probe : plan.probes) probe = {.name = in.GetString(), .operand = ReadOperand(in)};
  return plan;
}

// "arena+1024[16x96/96]": space, offset in bytes, rows x cols / stride in elements.
std::string ToString(const Operand& operand) {
  constexpr std::string_view kNames[] = {"-", "arena", "weights", "kv"};
  if (operand.space == Space::kNone) return "-";
  std::ostringstream out;
  out << kNames[static_cast<size_t>(operand.space)] << '+' << operand.offset << '[' << operand.rows << 'x' << operand.cols;
  if (operand.stride != operand.cols) out << '/' << operand.stride;
  out << ']';
  if (operand.dtype != DType::kF32) out << ' ' << operand.dtype;
  return std::move(out).str();
}

}  // namespace

std::vector<std::byte> SerializePlans(std::span<const Plan> plans) {
  ByteWriter out;
  out.Put(kMagic);
  out.Put(kVersion);
  out.Put(static_cast<uint32_t>(plans.size()));
  for (const Plan& plan : plans) Write(out, plan);
  const std::string hash = HashHex(out.bytes());
  Assert(hash.size() == kHashBytes);
  const auto bytes = std::as_bytes(std::span(hash));
  out.bytes().insert(out.bytes().end(), bytes.begin(), bytes.end());
  return std::move(out.bytes());
}

std::vector<Plan> ParsePlans(std::span<const std::byte> bytes, const std::string& where) {
  ByteReader header(bytes, where);
  Require(bytes.size() >= kHeaderBytes && header.Get<uint64_t>() == kMagic, ErrorCode::kDataLoss, where, ": not a plan file");
  const auto version = header.Get<uint32_t>();
  Require(version == kVersion, ErrorCode::kUnsupported, where, ": plan version ", version, "; this Intaglio reads version ", kVersion,
          ": run intaglio export again");
  Require(bytes.size() >= kHeaderBytes + kHashBytes, ErrorCode::kDataLoss, where, ": truncated at ", bytes.size(), " bytes");
  const auto body = bytes.first(bytes.size() - kHashBytes);
  const std::string hash(reinterpret_cast<const char*>(body.data() + body.size()), kHashBytes);
  Require(HashHex(body) == hash, ErrorCode::kDataLoss, where, ": corrupted (its checksum does not match): run intaglio export again");
  ByteReader in(body.subspan(kHeaderBytes), where);
  std::vector<Plan> plans(in.GetCount(kPlanBytes));
  for (Plan& plan : plans) plan = ReadPlan(in);
  in.ExpectEnd();
  return plans;
}

std::string ToString(const Plan& plan) {
  std::ostringstream out;
  out << Name(plan.phase) << ": " << plan.rows << " rows, " << plan.outputs << " outputs, arena " << plan.arena_bytes << " bytes, "
      << plan.calls.size() << " calls\n";
  size_t width = 0;
  for (const Call& call : plan.calls) width = std::max(width, call.label.size());
  for (const Call& call : plan.calls) {
    out << "  " << std::left << std::setw(static_cast<int>(width)) << call.label << "  " << std::setw(15) << call.kernel;
    for (const Operand& operand : call.operands) out << ' ' << ToString(operand);
    size_t num_ints = call.ints.size();
    while (num_ints > 0 && call.ints[num_ints - 1] == 0) --num_ints;
    for (size_t i = 0; i < num_ints; ++i) out << (i == 0 ? "  ints " : ",") << call.ints[i];
    if (call.floats != decltype(call.floats){}) out << "  floats " << Join(call.floats, ",");
    out << '\n';
  }
  for (const Probe& probe : plan.probes) out << "  probe " << probe.name << ' ' << ToString(probe.operand) << '\n';
  return std::move(out).str();
}

}  // namespace intaglio::bundle
