#include "collectives/process_group.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "base/cpus.h"
#include "base/fail.h"
#include "base/spin.h"
#include "collectives/failure.h"

namespace intaglio::collectives {
namespace {

// What launchers tell in the environment; 0 where they do not.
int FromEnvironment(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (const char* value = std::getenv(name); value != nullptr) return std::atoi(value);
  }
  return 0;
}

int RanksLaunched() { return FromEnvironment({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}); }

Patience PatienceOfThisHost() {
  const int ranks_here = FromEnvironment({"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "PMI_SIZE"});
  const bool fits = static_cast<size_t>(ranks_here) <= UsableCpus().size();
  return {.spin = fits ? kSpinTime : std::chrono::microseconds(0)};
}

// Beside the executable, or else where the loader looks. Never unloaded: MPI leaves threads and handlers behind.
void* OpenPlugin() {
  std::error_code no_such_file;
  const std::filesystem::path beside = std::filesystem::read_symlink("/proc/self/exe", no_such_file).parent_path() / kPluginFile;
  const bool is_beside = std::filesystem::exists(beside, no_such_file);
  void* plugin = dlopen(is_beside ? beside.c_str() : kPluginFile, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (plugin != nullptr) return plugin;
  const char* reason = dlerror();
  Fail(ErrorCode::kUnsupported, "this is one of ", RanksLaunched(),
       " processes of an MPI launcher, but the plugin for MPI does not load: ", reason == nullptr ? "no reason given" : reason,
       "; install libopenmpi-dev and openmpi-bin and build again, or keep ", kPluginFile, " beside the executable");
}

}  // namespace

std::unique_ptr<ProcessGroup> ProcessGroup::Join(std::optional<Patience> patience) {
  if (RanksLaunched() <= 1) return nullptr;
  void* plugin = OpenPlugin();
  const Patience chosen = patience ? *patience : PatienceOfThisHost();
  const auto join = reinterpret_cast<PluginEntry>(dlsym(plugin, kPluginEntry));
  std::unique_ptr<ProcessGroup> group(join == nullptr ? nullptr : join(kPluginInterface, &chosen));
  Require(group != nullptr, ErrorCode::kUnsupported, kPluginFile, " is of another version than this program; build both from the same sources");
  Require(group->collectives().size() == RanksLaunched(), ErrorCode::kUnsupported, "the launcher has started ", RanksLaunched(),
          " processes, but MPI knows of ", group->collectives().size(), "; use the launcher of the MPI that ", kPluginFile, " is built with");
  return group;
}

void ProcessGroup::Run(const std::function<void(Collectives&)>& body) {
  OrAbort(collectives(), [&] { body(collectives()); });
}

}  // namespace intaglio::collectives
