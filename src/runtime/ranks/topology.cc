#include "runtime/ranks/topology.h"

#include <dlfcn.h>
#include <hwloc.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>

#include "base/fail.h"

namespace intaglio::runtime {
namespace {

// Of hwloc 2, whose interface this has held since 2018.
constexpr const char* kLibrary = "libhwloc.so.15";

// Those functions of hwloc that we call. Linked, it would cost every start of every command half a millisecond (of five; two-core EPYC
// virtual machine, 2025). Stays loaded.
struct Hwloc {
  decltype(&hwloc_topology_init) init = nullptr;
  decltype(&hwloc_topology_set_synthetic) set_synthetic = nullptr;
  decltype(&hwloc_topology_load) load = nullptr;
  decltype(&hwloc_topology_destroy) destroy = nullptr;
  decltype(&hwloc_get_type_depth) depth = nullptr;
  decltype(&hwloc_get_nbobjs_by_depth) count = nullptr;
  decltype(&hwloc_get_obj_by_depth) object = nullptr;
  decltype(&hwloc_bitmap_isset) is_set = nullptr;

  // Null: not installed, or not as it should be.
  static std::optional<Hwloc> Load() {
    void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library == nullptr) return std::nullopt;
    Hwloc functions;
    const auto find = [&](const char* name, auto& function) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
      return function != nullptr;
    };
    const bool is_whole = find("hwloc_topology_init", functions.init) && find("hwloc_topology_set_synthetic", functions.set_synthetic) &&
                          find("hwloc_topology_load", functions.load) && find("hwloc_topology_destroy", functions.destroy) &&
                          find("hwloc_get_type_depth", functions.depth) && find("hwloc_get_nbobjs_by_depth", functions.count) &&
                          find("hwloc_get_obj_by_depth", functions.object) && find("hwloc_bitmap_isset", functions.is_set);
    return is_whole ? std::optional(functions) : std::nullopt;
  }
};

class Machine {
 public:
  explicit Machine(const Hwloc& hwloc) : hwloc_(hwloc), topology_(nullptr, hwloc.destroy) {}

  // Whether hwloc can read it.
  [[nodiscard]] bool Load(const std::string& synthetic) {
    hwloc_topology_t topology = nullptr;
    if (hwloc_.init(&topology) != 0) return false;
    topology_.reset(topology);
    Require(synthetic.empty() || hwloc_.set_synthetic(topology, synthetic.c_str()) == 0, ErrorCode::kInvalidArgument, "hwloc knows no machine \"",
            synthetic, '"');
    return hwloc_.load(topology) == 0;
  }

  [[nodiscard]] std::vector<hwloc_obj_t> Objects(hwloc_obj_type_t type) const {
    std::vector<hwloc_obj_t> objects;
    const int depth = hwloc_.depth(topology_.get(), type);
    const unsigned count = hwloc_.count(topology_.get(), depth);
    for (unsigned i = 0; i < count; ++i) objects.push_back(hwloc_.object(topology_.get(), depth, i));
    return objects;
  }
  [[nodiscard]] bool Has(hwloc_obj_t object, int cpu) const { return hwloc_.is_set(object->cpuset, static_cast<unsigned>(cpu)) != 0; }
  // Index in `objects`; their number: none.
  [[nodiscard]] size_t Find(const std::vector<hwloc_obj_t>& objects, int cpu) const {
    const auto object = std::ranges::find_if(objects, [&](hwloc_obj_t o) { return Has(o, cpu); });
    return static_cast<size_t>(object - objects.begin());
  }

 private:
  const Hwloc& hwloc_;
  std::unique_ptr<hwloc_topology, decltype(&hwloc_topology_destroy)> topology_;
};

Topology OneNode(const TopologySource& source, std::string note) {
  NumaNode node{.socket = 0, .num_cores = static_cast<int>(source.usable_cpus.size()), .usable_cpus = source.usable_cpus};
  node.bytes = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE));
  return {.num_sockets = 1, .nodes = {std::move(node)}, .note = std::move(note)};
}

Topology Describe(const Machine& machine, const TopologySource& source) {
  const std::vector<hwloc_obj_t> nodes = machine.Objects(HWLOC_OBJ_NUMANODE), sockets = machine.Objects(HWLOC_OBJ_PACKAGE),
                                 cores = machine.Objects(HWLOC_OBJ_CORE);
  Topology topology{.num_sockets = std::max(1, static_cast<int>(sockets.size())), .nodes = {}};
  for (hwloc_obj_t node : nodes)
    topology.nodes.push_back({.number = static_cast<int>(node->os_index), .bytes = node->attr->numanode.local_memory, .usable_cpus = {}});
  std::vector<std::set<size_t>> cores_of(nodes.size());
  for (hwloc_obj_t unit : machine.Objects(HWLOC_OBJ_PU)) {
    const auto cpu = static_cast<int>(unit->os_index);
    topology.is_bound = topology.is_bound || !std::ranges::binary_search(source.allowed_cpus, cpu);
    const size_t core = machine.Find(cores, cpu), socket = machine.Find(sockets, cpu);
    bool is_first = true;
    for (size_t n = 0; n < nodes.size(); ++n) {
      if (!machine.Has(nodes[n], cpu)) continue;
      NumaNode& node = topology.nodes[n];
      node.socket = socket < sockets.size() ? static_cast<int>(socket) : 0;
      if (is_first) {
        cores_of[n].insert(core < cores.size() ? core : cores.size() + unit->os_index);   // no cores known: every CPU is one
        if (std::ranges::binary_search(source.usable_cpus, cpu)) node.usable_cpus.push_back(cpu);
      }
      is_first = false;
    }
  }
  for (size_t n = 0; n < nodes.size(); ++n) topology.nodes[n].num_cores = static_cast<int>(cores_of[n].size());
  return topology;
}

}  // namespace

Topology ReadTopology(const TopologySource& source) {
  const std::optional<Hwloc> hwloc = Hwloc::Load();
  if (!hwloc) return OneNode(source, StrCat(kLibrary, " does not load, so the machine is taken for one NUMA node; install libhwloc15 or its like"));
  Machine machine(*hwloc);
  if (!machine.Load(source.synthetic)) return OneNode(source, "hwloc cannot read this machine, which is taken for one NUMA node");
  Topology topology = Describe(machine, source);
  size_t num_found = 0;
  for (const NumaNode& node : topology.nodes) num_found += node.usable_cpus.size();
  if (num_found == 0) return OneNode(source, "hwloc knows none of the CPUs that this process may use, so the machine is taken for one NUMA node");
  return topology;
}

}  // namespace intaglio::runtime
