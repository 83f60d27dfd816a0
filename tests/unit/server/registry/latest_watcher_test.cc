#include "server/registry/latest_watcher.h"

#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "base/bounded_queue.h"
#include "tests/support/temp_dir.h"

namespace llava::registry {
namespace {

namespace fs = std::filesystem;

// What the publisher does: a new link, renamed over the old one.
void MoveLatest(const fs::path& root, const char* version) {
  fs::create_directory_symlink(version, root / ".latest-new");
  fs::rename(root / ".latest-new", root / "latest");
}

class LatestWatcherTest : public ::testing::Test {
 protected:
  std::unique_ptr<LatestWatcher> Watch(const fs::path& root, Duration poll) {
    auto watcher = LatestWatcher::Start(root, poll, [this](const std::string& dir, bool replaced) {
      seen_.TryPush(dir + (replaced ? " replaced" : ""));
    });
    EXPECT_TRUE(watcher.ok());
    return *std::move(watcher);
  }
  std::string Next() { return fs::path(*seen_.Pop()).filename(); }

  BoundedQueue<std::string> seen_{100};
  test::TempDir dir_;
};

TEST_F(LatestWatcherTest, TellsWhatIsThereAndWhatComes) {
  const fs::path root(dir_.path());
  MoveLatest(root, "v1");
  const auto watcher = Watch(root, std::chrono::hours(1));  // by notification alone
  EXPECT_EQ(Next(), "v1");
  MoveLatest(root, "v2");
  EXPECT_EQ(Next(), "v2");
  MoveLatest(root, "v2");
  MoveLatest(root, "v3");
  EXPECT_EQ(Next(), "v3");
}

TEST_F(LatestWatcherTest, LooksByItselfAndWaitsForTheFolder) {
  const fs::path root = fs::path(dir_.path()) / "later";
  const auto watcher = Watch(root, std::chrono::milliseconds(5));
  fs::create_directory(root);
  MoveLatest(root, "v1");
  EXPECT_EQ(Next(), "v1");
}

// A folder that changes without a notification, as on a network file system: what is watched is not
// what the path names later.
TEST_F(LatestWatcherTest, LooksWhereNothingIsNotified) {
  const fs::path root = fs::path(dir_.path()) / "root";
  for (const char* name : {"one", "two"}) fs::create_directory(fs::path(dir_.path()) / name);
  MoveLatest(fs::path(dir_.path()) / "one", "v1");
  MoveLatest(fs::path(dir_.path()) / "two", "v2");
  fs::create_directory_symlink("one", root);
  const auto watcher = Watch(root, std::chrono::milliseconds(5));
  EXPECT_EQ(Next(), "v1");
  fs::create_directory_symlink("two", root.string() + "-new");
  fs::rename(root.string() + "-new", root);
  EXPECT_EQ(Next(), "v2");
}

TEST_F(LatestWatcherTest, LooksWhenTheSystemGivesNoInotifyInstance) {
  std::vector<int> taken;
  for (int fd = 0; fd >= 0 && taken.size() < 1000;) {
    fd = inotify_init1(IN_CLOEXEC);
    if (fd >= 0) taken.push_back(fd);
  }
  const fs::path root(dir_.path());
  const auto watcher = Watch(root, std::chrono::milliseconds(5));
  const bool refused = !watcher->notified();
  for (const int fd : taken) close(fd);
  if (!refused) GTEST_SKIP() << "this system gives more than " << taken.size();
  MoveLatest(root, "v1");
  EXPECT_EQ(Next(), "v1");
}

TEST_F(LatestWatcherTest, TellsWhenTheFilesWereReplaced) {
  const fs::path root(dir_.path());
  fs::create_directory(root / "v1");
  std::ofstream(root / "v1" / "config.json") << "{";
  MoveLatest(root, "v1");
  const auto watcher = Watch(root, std::chrono::milliseconds(5));
  EXPECT_EQ(Next(), "v1");
  std::ofstream(root / "v1" / "config.json") << "{}";
  EXPECT_EQ(Next(), "v1 replaced");
}

TEST_F(LatestWatcherTest, AFolderWithLinksInACircleIsToldLikeAnyOther) {
  const fs::path root(dir_.path());
  fs::create_directory(root / "v1");
  fs::create_symlink("loop", root / "v1" / "loop");
  MoveLatest(root, "v1");
  const auto watcher = Watch(root, std::chrono::hours(1));
  EXPECT_EQ(Next(), "v1");
  MoveLatest(root, "latest");
  EXPECT_EQ(Next(), "latest");
}

TEST_F(LatestWatcherTest, WhatTheCallbackThrowsIsTriedAgain) {
  const fs::path root(dir_.path());
  MoveLatest(root, "v1");
  bool thrown = false;
  const auto watcher =
      LatestWatcher::Start(root, std::chrono::milliseconds(5), [&](const std::string& dir, bool) {
        if (!std::exchange(thrown, true)) throw std::bad_alloc();
        seen_.TryPush(std::string(dir));
      });
  EXPECT_EQ(Next(), "v1");
}

TEST_F(LatestWatcherTest, StopsWithNothingToTell) { Watch(dir_.path(), std::chrono::hours(1)); }

}  // namespace
}  // namespace llava::registry
