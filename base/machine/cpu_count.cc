#include "base/machine/cpu_count.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/machine/control_groups.h"

namespace llava {
namespace {

constexpr std::size_t kMaxBytes = 4096;

// A quota of 100.5 % is meant as one CPU.
constexpr double kRounding = 0.01;

double CpusOfAffinity() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return std::max(1u, std::thread::hardware_concurrency());  // more CPUs than the set has room for
}

// The whole numbers of a file, "max" and the like left out.
std::vector<double> Numbers(const std::string& path) {
  std::vector<double> numbers;
  const auto text = ReadFile(path, kMaxBytes);
  if (!text.ok()) return numbers;
  for (const absl::string_view word :
       absl::StrSplit(*text, absl::ByAnyChar(" \n"), absl::SkipEmpty())) {
    double number = 0;
    if (absl::SimpleAtod(word, &number)) numbers.push_back(number);
  }
  return numbers;
}

// quota / period; nothing without a limit.
std::optional<double> Share(const std::vector<double>& quota, const std::vector<double>& period) {
  if (quota.empty() || period.empty() || quota[0] <= 0 || period[0] <= 0) return std::nullopt;
  return quota[0] / period[0];
}

}  // namespace

double AvailableCpus(const std::string& root) {
  double cpus = CpusOfAffinity();
  const auto limit = [&](std::optional<double> share) {
    if (share.has_value()) cpus = std::min(cpus, *share);
  };
  const ControlGroups groups = ControlGroupsOf("cpu", root);
  for (const std::string& folder : groups.version2) {
    const std::vector<double> both = Numbers(folder + "/cpu.max");  // "150000 100000", "max 100000"
    if (both.size() == 2) limit(Share({both[0]}, {both[1]}));
  }
  for (const std::string& folder : groups.version1) {
    limit(Share(Numbers(folder + "/cpu.cfs_quota_us"), Numbers(folder + "/cpu.cfs_period_us")));
  }
  return cpus;
}

int ThreadsOnCpus(double cpus) {
  return std::max(1, static_cast<int>(std::ceil(cpus - kRounding)));
}

int ComputeThreads() {
  int asked = 0;
  const char* variable = std::getenv("OMP_NUM_THREADS");
  if (variable != nullptr && absl::SimpleAtoi(variable, &asked) && asked > 0) return asked;
  return ThreadsOnCpus(AvailableCpus());
}

}  // namespace llava
