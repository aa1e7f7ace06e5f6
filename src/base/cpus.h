// Which CPUs this process may keep busy, and what they are.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace intaglio {

// The logical CPUs that the affinity of the calling thread allows, ascending.
[[nodiscard]] std::vector<int> AllowedCpus();
// One logical CPU per physical core that the process's affinity allows, ascending, at least one; no more than its cgroup's CPU quota pays
// for (version 2 or 1, every level up to the root). `root` is where /proc and /sys are.
[[nodiscard]] std::vector<int> UsableCpus(const std::filesystem::path& root = "/");

// The name that the CPU has for itself: "AMD EPYC 7B13".
[[nodiscard]] std::string CpuModel();

}  // namespace intaglio
