#include "base/machine/memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "tests/support/temp_dir.h"

namespace llava {
namespace {

class MemoryTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_.path() + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  std::int64_t Available() const { return AvailableMemory(root_.path()); }

  test::TempDir root_;
};

TEST_F(MemoryTest, WhatTheMachineHas) {
  EXPECT_EQ(Available(), std::numeric_limits<std::int64_t>::max());
  Write("/proc/meminfo", "MemTotal:  2000 kB\nMemFree:  10 kB\nMemAvailable:   1000 kB\n");
  EXPECT_EQ(Available(), 1024000);
  Write("/proc/self/cgroup", "0::/\n");
  EXPECT_EQ(Available(), 1024000);
}

TEST_F(MemoryTest, WhatAControlGroupLeaves) {
  Write("/proc/meminfo", "MemAvailable: 100000 kB\n");
  Write("/proc/self/cgroup", "0::/pod/app\n");
  Write("/sys/fs/cgroup/pod/app/memory.max", "max\n");
  Write("/sys/fs/cgroup/pod/app/memory.current", "3000\n");
  EXPECT_EQ(Available(), 102400000);
  // The limit of a group around it; file pages can be given back.
  Write("/sys/fs/cgroup/pod/memory.max", "10000\n");
  Write("/sys/fs/cgroup/pod/memory.current", "8000\n");
  Write("/sys/fs/cgroup/pod/memory.stat", "anon 3000\ninactive_file 4000\nfile 1\n");
  EXPECT_EQ(Available(), 6000);
  // As a container sees it: its group is the root.
  Write("/proc/self/cgroup", "0::/\n");
  Write("/sys/fs/cgroup/memory.max", "500\n");
  Write("/sys/fs/cgroup/memory.current", "700\n");
  EXPECT_EQ(Available(), 0);
  // The numbers are not taken at one moment: more may be cached than is used.
  Write("/sys/fs/cgroup/memory.stat", "inactive_file 900\n");
  EXPECT_EQ(Available(), 500);
}

TEST_F(MemoryTest, VersionOne) {
  Write("/proc/self/cgroup", "5:cpu:/\n4:memory:/box\n0::/\n");
  Write("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "9000\n");
  Write("/sys/fs/cgroup/memory/box/memory.usage_in_bytes", "5000\n");
  Write("/sys/fs/cgroup/memory/box/memory.stat", "total_inactive_file 500\n");
  EXPECT_EQ(Available(), 4500);
}

}  // namespace
}  // namespace llava
