// The seeded simulation of the registry: many worlds, each with its own random troubles.
//   registry_swarm [--seed N] [--ticks N]    N ticks in total, beginning with world N
// The seed of a failing world is printed with its plan; `--seed <it> --ticks 1` runs it alone.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "tests/simulation/registry_world.h"

namespace llava::simulation {
namespace {

constexpr std::uint64_t kDefaultSeed = 20240131;
constexpr std::int64_t kDefaultTicks = 500'000;
constexpr int kTicksOfWorld = 1500;

// What some world must have come to, or the simulation does not try what it says.
constexpr const char* kMustHappen[] = {"canary",
                                       "live",
                                       "kept",
                                       "stutters",
                                       "requests",
                                       "requests of another engine",
                                       "waited for a swap",
                                       "ended replaced",
                                       "ended superseded",
                                       "ended unloaded",
                                       "ended swapped_out",
                                       "ended failed",
                                       "ended too_slow",
                                       "ended rolled_back"};

bool RunWorld(std::uint64_t seed, std::int64_t* ticks, RegistryTotals* totals) {
  RegistryWorld world(seed);
  absl::Status status = world.RunFaultyPhase(kTicksOfWorld);
  const char* phase = "with faults";
  if (status.ok()) {
    phase = "without faults";
    status = world.RunSettling();
  }
  *ticks += world.ticks();
  totals->Add(world.totals());
  if (status.ok()) return true;
  std::printf("FAILED seed %llu, tick %lld (%s): %s\n  %s\n", static_cast<unsigned long long>(seed),
              static_cast<long long>(world.ticks()), phase, status.ToString().c_str(),
              world.plan().ToString().c_str());
  return false;
}

int Main(std::uint64_t first_seed, std::int64_t ticks) {
  std::printf("seed %llu\n", static_cast<unsigned long long>(first_seed));
  std::fflush(stdout);
  RegistryTotals totals;
  std::int64_t done = 0;
  std::uint64_t seed = first_seed;
  for (; done < ticks; ++seed) {
    if (!RunWorld(seed, &done, &totals)) return EXIT_FAILURE;
  }
  std::printf("%llu worlds, %lld ticks\n", static_cast<unsigned long long>(seed - first_seed),
              static_cast<long long>(done));
  for (const auto& [name, times] : totals.count) {
    std::printf("  %-28s %lld\n", name.c_str(), static_cast<long long>(times));
  }
  if (ticks < kDefaultTicks) return EXIT_SUCCESS;
  for (const char* name : kMustHappen) {
    if (totals.count[name] > 0) continue;
    std::printf("FAILED: in no world there was: %s\n", name);
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace llava::simulation

int main(int argc, char** argv) {
  std::uint64_t seed = llava::simulation::kDefaultSeed;
  std::int64_t ticks = llava::simulation::kDefaultTicks;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view flag = argv[i];
    if (flag == "--seed") seed = std::strtoull(argv[i + 1], nullptr, 10);
    if (flag == "--ticks") ticks = std::strtoll(argv[i + 1], nullptr, 10);
  }
  return llava::simulation::Main(seed, ticks);
}
