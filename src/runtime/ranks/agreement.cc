#include "runtime/ranks/agreement.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/fail.h"
#include "base/hash.h"
#include "base/mapped_file.h"

namespace intaglio::runtime {
namespace {

// What each rank tells the others.
struct Identity {
  char bundle[40] = {};    // digest of the manifest, which has the digests of all files
  char plans[40] = {};     // of the plans' phases, rows and outputs: a step's plan is named by its number
  int32_t rank = 0, num_ranks = 0;
};
static_assert(sizeof(Identity) == 88, "no padding: it travels as bytes");

template <size_t N>
void Put(const std::string& text, char (&out)[N]) {
  std::memcpy(out, text.data(), std::min(text.size(), N - 1));
}

Identity IdentityOf(const bundle::Bundle& bundle) {
  Identity identity{.rank = bundle.rank, .num_ranks = bundle.manifest.tp_degree};
  Put(HashHex(MappedFile(bundle.path / bundle::kManifestFile).bytes()), identity.bundle);
  std::string plans;
  for (const bundle::Plan& plan : bundle.plans) plans += StrCat(Name(plan.phase), ' ', plan.rows, ' ', plan.outputs, '\n');
  Put(HashHex(std::as_bytes(std::span(plans))), identity.plans);
  return identity;
}

}  // namespace

void Agree(const bundle::Bundle& bundle, collectives::Collectives& group) {
  const auto num_ranks = static_cast<size_t>(group.size()), own = static_cast<size_t>(group.rank());
  std::vector<Identity> identities(num_ranks);
  std::vector<int64_t> borders;
  for (size_t r = 0; r <= num_ranks; ++r) borders.push_back(static_cast<int64_t>(r * sizeof(Identity)));
  identities[own] = IdentityOf(bundle);
  group.AllGather(std::as_writable_bytes(std::span(identities)), borders);
  const Identity& mine = identities[own];
  const auto expect = [&](size_t r, const std::string& what, const auto& theirs, const auto& ours) {
    Require(theirs == ours, ErrorCode::kUnavailable, what, " of rank ", r, " is ", theirs, ", of rank ", own, " ", ours,
            "; start all ranks with one bundle");
  };
  for (size_t r = 0; r < num_ranks; ++r) {
    expect(r, "the bundle's digest", std::string(identities[r].bundle), std::string(mine.bundle));
    expect(r, "the digest of the graphs", std::string(identities[r].plans), std::string(mine.plans));
    expect(r, "the number of ranks", identities[r].num_ranks, mine.num_ranks);
    expect(r, "the place in the bundle", identities[r].rank, static_cast<int32_t>(r));
  }
}

}  // namespace intaglio::runtime
