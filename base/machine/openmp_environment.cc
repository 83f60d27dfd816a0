#include "base/machine/openmp_environment.h"

#include <linux/limits.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

#include "base/machine/cpu_count.h"

namespace llava {
namespace {

// Looks before a thread sleeps, about 10 us: as long as waking it takes.
constexpr char kSpinCount[] = "2000";

// True when it was not set before.
bool SetIfMissing(const char* variable, const std::string& value) {
  return std::getenv(variable) == nullptr && setenv(variable, value.c_str(), 1) == 0;
}

}  // namespace

void TellOpenMp(char** argv) {
  bool changed = SetIfMissing("OMP_NUM_THREADS", std::to_string(ComputeThreads()));
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) {
    changed |= SetIfMissing("GOMP_SPINCOUNT", kSpinCount);
  }
  if (!changed) return;
  // By its path, since the name that the system shows for the process comes from it.
  std::array<char, PATH_MAX> path{};
  const ssize_t length = readlink("/proc/self/exe", path.data(), path.size() - 1);
  if (length > 0) execv(path.data(), argv);
}

}  // namespace llava
