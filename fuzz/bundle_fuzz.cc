// Any bytes as a bundle's manifest, as its costs.json, or as the body of its plan.bin (inside a right header and checksum, which random bytes would never
// get past): the readers give values or an Error, and what they accept can be written again. Plans also meet the checks of a whole bundle.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "bundle/costs.h"
#include "bundle/manifest.h"
#include "bundle/plan.h"
#include "bundle/validate.h"
#include "intaglio/error.h"

namespace {

using namespace intaglio;

constexpr size_t kHeaderBytes = 12;  // magic and version

std::vector<std::byte> PlanFile(std::span<const std::byte> body) {
  std::vector<std::byte> file = bundle::SerializePlans({});
  file.resize(kHeaderBytes);
  file.insert(file.end(), body.begin(), body.end());
  const std::string hash = HashHex(file);
  const auto bytes = std::as_bytes(std::span(hash));
  file.insert(file.end(), bytes.begin(), bytes.end());
  return file;
}

// Lets every plan through to the checks of its operands.
bundle::Manifest RoomyManifest() {
  bundle::Manifest manifest;
  manifest.kv_groups = {{}};
  manifest.memory.arena = UINT64_MAX;
  return manifest;
}

void Check(bool is_ok) {
  if (!is_ok) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto rest = std::as_bytes(std::span(data, size)).subspan(1);
  try {
    const std::string_view text(reinterpret_cast<const char*>(rest.data()), rest.size());
    if (data[0] % 3 == 0) {
      const auto manifest = bundle::ManifestFromJson(text, "manifest.json");
      Check(bundle::ToJson(bundle::ManifestFromJson(bundle::ToJson(manifest), "again")) == bundle::ToJson(manifest));
    } else if (data[0] % 3 == 2) {
      const std::vector<CostTable> tables = bundle::CostsFromJson(text, "costs.json");
      Check(bundle::ToJson(bundle::CostsFromJson(bundle::ToJson(tables), "again")) == bundle::ToJson(tables));
    } else {
      const std::vector<bundle::Plan> plans = bundle::ParsePlans(PlanFile(rest), "plan.bin");
      Check(bundle::SerializePlans(plans) == PlanFile(rest));
      for (const bundle::Plan& plan : plans) (void)bundle::ToString(plan);
      bundle::Validate({.path = "bundle", .manifest = RoomyManifest(), .plans = plans, .weights = {}});
    }
  } catch (const Error&) {}
  return 0;
}
