// The seeded simulation of scheduler and engine: many worlds, each with its own random troubles.
//   swarm [--seed N] [--ticks N]    N ticks in total (a million), beginning with world N
// The seed of a failing world is printed with its plan; `--seed <it> --ticks 1` runs it alone.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "server/scheduling/marks.h"
#include "tests/simulation/world.h"

namespace llava::simulation {
namespace {

constexpr std::uint64_t kDefaultSeed = 20230417;
constexpr std::int64_t kDefaultTicks = 1'000'000;
constexpr int kTicksOfWorld = 2000;

struct Totals {
  std::int64_t worlds = 0;
  std::int64_t ticks = 0;
  std::int64_t finished = 0;
  int longest_wait = 0;
};

bool RunWorld(std::uint64_t seed, scheduling::Marks* marks, Totals* totals) {
  World world(seed, marks);
  absl::Status status = world.RunFaultyPhase(kTicksOfWorld);
  const char* phase = "with faults";
  if (status.ok()) {
    phase = "without faults";
    status = world.RunDrain();
  }
  if (!status.ok()) {
    std::printf("FAILED seed %llu, tick %lld (%s): %s\n  %s\n",
                static_cast<unsigned long long>(seed), static_cast<long long>(world.ticks()), phase,
                status.ToString().c_str(), world.plan().ToString().c_str());
    return false;
  }
  ++totals->worlds;
  totals->ticks += world.ticks();
  totals->finished += world.finished();
  totals->longest_wait = std::max(totals->longest_wait, world.longest_wait());
  return true;
}

// Every rare branch must have been reached by some world.
int UnreachedMarks(const scheduling::Marks& marks) {
  int unreached = 0;
  for (int i = 0; i < static_cast<int>(scheduling::Mark::kCount); ++i) {
    const auto mark = static_cast<scheduling::Mark>(i);
    std::printf("mark %-22s %llu\n", scheduling::MarkName(mark),
                static_cast<unsigned long long>(marks.count(mark)));
    if (marks.count(mark) == 0) ++unreached;
  }
  return unreached;
}

int Main(std::uint64_t first_seed, std::int64_t ticks) {
  std::printf("seed %llu\n", static_cast<unsigned long long>(first_seed));
  std::fflush(stdout);
  scheduling::Marks marks;
  Totals totals;
  for (std::uint64_t seed = first_seed; totals.ticks < ticks; ++seed) {
    if (!RunWorld(seed, &marks, &totals)) return EXIT_FAILURE;
  }
  std::printf("%lld worlds, %lld ticks, %lld requests, longest wait %d ticks\n",
              static_cast<long long>(totals.worlds), static_cast<long long>(totals.ticks),
              static_cast<long long>(totals.finished), totals.longest_wait);
  if (ticks < kDefaultTicks) return EXIT_SUCCESS;
  const int unreached = UnreachedMarks(marks);
  if (unreached == 0) return EXIT_SUCCESS;
  std::printf("FAILED: %d rare branches were never reached\n", unreached);
  return EXIT_FAILURE;
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
