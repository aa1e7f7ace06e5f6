#include "base/cpus.h"

#include <cpuid.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <set>
#include <string>
#include <string_view>

#include "base/strings.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;
constexpr double kUnlimited = std::numeric_limits<double>::infinity();

// The first of `cpus` of every physical core. Without sysfs every CPU is a core.
std::vector<int> OnePerCore(const std::vector<int>& cpus, const fs::path& root) {
  std::vector<int> firsts;
  std::set<std::string> seen;
  for (int cpu : cpus) {
    std::string siblings;
    std::ifstream(root / StrCat("sys/devices/system/cpu/cpu", cpu, "/topology/thread_siblings_list")) >> siblings;
    if (siblings.empty() || seen.insert(siblings).second) firsts.push_back(cpu);
  }
  return firsts;
}

double QuotaV2(const fs::path& group) {
  double quota = 0, period = 0;
  std::ifstream file(group / "cpu.max");   // "max 100000" or "150000 100000"
  return file >> quota >> period && period > 0 ? quota / period : kUnlimited;
}

double QuotaV1(const fs::path& group) {
  double quota = 0, period = 0;
  const bool is_read = std::ifstream(group / "cpu.cfs_quota_us") >> quota && std::ifstream(group / "cpu.cfs_period_us") >> period;
  return is_read && quota > 0 && period > 0 ? quota / period : kUnlimited;   // -1: none
}

// The smallest quota from `group` up to the mount point. A container may not see its own group there, but then sees it as the root.
template <typename Quota>
double SmallestQuota(const fs::path& mount, fs::path group, Quota quota) {
  double smallest = quota(mount);
  for (group = group.relative_path(); !group.empty(); group = group.parent_path()) smallest = std::min(smallest, quota(mount / group));
  return smallest;
}

// CPUs' worth of time that the cgroups of this process grant. Lines of /proc/self/cgroup are "0::/path" (version 2) and
// "4:cpu,cpuacct:/path" (version 1).
double Quota(const fs::path& root) {
  double smallest = kUnlimited;
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const fs::path group = line.substr(second + 1), mount = root / "sys/fs/cgroup";
    if (controllers.empty()) smallest = std::min(smallest, SmallestQuota(mount, group, QuotaV2));
    if (("," + controllers + ",").find(",cpu,") != std::string::npos) smallest = std::min(smallest, SmallestQuota(mount / "cpu", group, QuotaV1));
  }
  return smallest;
}

}  // namespace

std::vector<int> AllowedCpus() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return {0};   // more CPUs than a cpu_set_t holds
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

std::vector<int> UsableCpus(const fs::path& root) {
  std::vector<int> cpus = OnePerCore(AllowedCpus(), root);
  const double quota = std::max(1.0, std::floor(Quota(root)));
  if (quota < static_cast<double>(cpus.size())) cpus.resize(static_cast<size_t>(quota));
  return cpus;
}

// Three leaves of CPUID give 16 characters each, padded with zeros or blanks.
std::string CpuModel() {
  constexpr unsigned kFirstLeaf = 0x80000002, kNumLeaves = 3;
  std::array<unsigned, 4 * kNumLeaves> registers{};
  for (unsigned leaf = 0; leaf < kNumLeaves; ++leaf) {
    unsigned* r = &registers[4 * static_cast<size_t>(leaf)];
    if (__get_cpuid(kFirstLeaf + leaf, r, r + 1, r + 2, r + 3) == 0) return "x86-64";
  }
  std::array<char, sizeof registers + 1> name{};
  std::memcpy(name.data(), registers.data(), sizeof registers);
  const std::string_view text(name.data());
  const size_t first = text.find_first_not_of(' ');
  return first == std::string_view::npos ? "x86-64" : std::string(text.substr(first, text.find_last_not_of(' ') + 1 - first));
}

}  // namespace intaglio
