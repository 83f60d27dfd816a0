#include "server/observe/process_metrics.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "base/clock.h"

namespace llava::observe {
namespace {

// By name.
std::map<std::string, double> Measured() {
  std::map<std::string, double> values;
  for (const prometheus::MetricFamily& family : ProcessMetrics().Collect()) {
    const prometheus::ClientMetric& metric = family.metric.at(0);
    values[family.name] =
        family.type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value;
  }
  return values;
}

double SecondsOf(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

TEST(ProcessMetricsTest, TheTimeOfUserAndSystem) {
  std::ifstream zero("/dev/zero", std::ios::binary);
  std::string bytes(1 << 20, 'x');
  rusage used{};
  do {  // until there is enough of both to be told from one
    for (int i = 0; i < 20; ++i)
      zero.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    ASSERT_EQ(getrusage(RUSAGE_SELF, &used), 0);
  } while (SecondsOf(used.ru_stime) < 0.1);
  const double before = SecondsOf(used.ru_utime) + SecondsOf(used.ru_stime);
  EXPECT_GE(Measured()["process_cpu_seconds_total"], before - 0.03);  // it counts in ticks
}

TEST(ProcessMetricsTest, OpenFilesWithoutTheLookAtThem) {
  const double before = Measured()["process_open_fds"];
  double counted = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    counted += std::filesystem::is_directory(entry.path(), gone) ? 0 : 1;
  }
  EXPECT_EQ(before, counted);
  const std::ifstream one_more("/dev/null");
  EXPECT_EQ(Measured()["process_open_fds"], before + 1);
}

TEST(ProcessMetricsTest, TheLimitIsTheOneInForce) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit lower{.rlim_cur = 123, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &lower), 0);
  const double measured = Measured()["process_max_fds"];
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(measured, 123);
}

TEST(ProcessMetricsTest, MemoryIsCountedInBytes) {
  std::string resident(64 << 20, 'x');
  EXPECT_GE(Measured()["process_resident_memory_bytes"], static_cast<double>(resident.size()));
  EXPECT_GE(Measured()["process_virtual_memory_bytes"],
            Measured()["process_resident_memory_bytes"]);
}

// A process may call itself anything, also what looks like the end of its name.
TEST(ProcessMetricsTest, TheNameOfTheProcessDoesNotMatter) {
  char before[16];
  ASSERT_EQ(prctl(PR_GET_NAME, before), 0);
  ASSERT_EQ(prctl(PR_SET_NAME, "a) S 1 1 1"), 0);
  const auto measured = Measured();
  ASSERT_EQ(prctl(PR_SET_NAME, before), 0);
  double threads = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    threads += task.is_directory() ? 1 : 0;
  }
  EXPECT_EQ(measured.at("process_threads"), threads);
}

// The machine may have started long before; this test has not.
TEST(ProcessMetricsTest, TheStartIsThatOfTheProcess) {
  const double seconds = static_cast<double>(RealClock().UnixMillis()) / 1000;
  const double start = Measured()["process_start_time_seconds"];
  EXPECT_LE(start, seconds + 2);
  EXPECT_GE(start, seconds - 3600);
}

}  // namespace
}  // namespace llava::observe
