#include "base/machine/cpu_count.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/machine/control_groups.h"
#include "tests/support/temp_dir.h"

namespace llava {
namespace {

class CpuCountTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file(dir_.path() + path);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  double Cpus() { return AvailableCpus(dir_.path()); }

  static double Affinity() {
    cpu_set_t set;
    sched_getaffinity(0, sizeof(set), &set);
    return CPU_COUNT(&set);
  }

  test::TempDir dir_;
};

TEST_F(CpuCountTest, WithoutGroupsTheAffinityCounts) { EXPECT_EQ(Cpus(), Affinity()); }

TEST_F(CpuCountTest, TheLeastQuotaOfVersion2OnTheWayUpBinds) {
  Write("/proc/self/cgroup", "0::/pods/one\n");
  Write("/sys/fs/cgroup/pods/one/cpu.max", "max 100000\n");
  EXPECT_EQ(Cpus(), Affinity());
  Write("/sys/fs/cgroup/pods/cpu.max", "50000 100000\n");
  EXPECT_DOUBLE_EQ(Cpus(), 0.5);
  Write("/sys/fs/cgroup/pods/one/cpu.max", "25000 100000\n");
  EXPECT_DOUBLE_EQ(Cpus(), 0.25);
}

TEST_F(CpuCountTest, QuotasOfVersion1AreReadWhereTheContainerSeesThem) {
  Write("/proc/self/cgroup", "7:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n");
  Write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "75000\n");  // the container's own is the root here
  Write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_DOUBLE_EQ(Cpus(), 0.75);
  Write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(Cpus(), Affinity());
}

TEST_F(CpuCountTest, NonsenseIsNoLimit) {
  Write("/proc/self/cgroup", "0::/a\nhello\n");
  for (const char* text :
       {"", "0 100000\n", "50000\n", "50000 0\n", "x y\n", "-1 100000\n", "50000 -100000\n"}) {
    Write("/sys/fs/cgroup/a/cpu.max", text);
    EXPECT_EQ(Cpus(), Affinity()) << text;
  }
}

TEST_F(CpuCountTest, AStartedCpuHasAThread) {
  EXPECT_EQ(ThreadsOnCpus(0.1), 1);
  EXPECT_EQ(ThreadsOnCpus(1.0), 1);
  EXPECT_EQ(ThreadsOnCpus(1.005), 1);
  EXPECT_EQ(ThreadsOnCpus(1.5), 2);
  EXPECT_EQ(ThreadsOnCpus(64.0), 64);
}

TEST_F(CpuCountTest, TheEnvironmentGoesBefore) {
  setenv("OMP_NUM_THREADS", "7", 1);
  EXPECT_EQ(ComputeThreads(), 7);
  for (const char* nonsense : {"none", "0", "-3"}) {
    setenv("OMP_NUM_THREADS", nonsense, 1);
    EXPECT_EQ(ComputeThreads(), ThreadsOnCpus(AvailableCpus())) << nonsense;
  }
  unsetenv("OMP_NUM_THREADS");
  EXPECT_EQ(ComputeThreads(), ThreadsOnCpus(AvailableCpus()));
}

TEST_F(CpuCountTest, GroupsAreListedFromTheirOwnUp) {
  Write("/proc/self/cgroup", "3:cpu:/\n0::/a/b\n");
  const ControlGroups groups = ControlGroupsOf("cpu", dir_.path());
  const std::string top = dir_.path() + "/sys/fs/cgroup";
  EXPECT_EQ(groups.version2, (std::vector<std::string>{top + "/a/b", top + "/a", top}));
  EXPECT_EQ(groups.version1, (std::vector<std::string>{top + "/cpu"}));
  EXPECT_TRUE(ControlGroupsOf("memory", dir_.path()).version1.empty());
}

}  // namespace
}  // namespace llava
