#include "training/publish/publish.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint/version_lease.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// Writes like a checkpoint writer: without syncing.
WriteCheckpoint Files(const std::string& weights) {
  return [weights](const std::string& dir) {
    fs::create_directories(dir + "/probes");
    std::ofstream(dir + "/config.json") << "{}";
    std::ofstream(dir + "/model.safetensors") << weights;
    std::ofstream(dir + "/probes/0.png") << "png";
    return absl::OkStatus();
  };
}

model::Manifest Draft(int step) {
  model::Manifest manifest;
  manifest.step = step;
  manifest.probes = {{"What?", {"probes/0.png"}, "vicuna_v1", {1, 2}}};
  return manifest;
}

enum class Fault { kError, kKill, kPowerLoss };

// The n-th operation (from 1) does not happen: it returns an error, the process is killed, or it is
// killed after everything that was never synced has been lost.
class FaultyFiles : public FileLayer {
 public:
  FaultyFiles(int at, Fault fault, std::string root)
      : at_(at), fault_(fault), root_(std::move(root)) {}

  int operations() const { return count_; }

  absl::Status MakeFolder(const std::string& path) override {
    return Next() ? real_.MakeFolder(path) : Broken();
  }
  absl::Status WriteFile(const std::string& path, std::string_view bytes) override {
    return Next() ? real_.WriteFile(path, bytes) : Broken();
  }
  absl::Status SyncFile(const std::string& path) override {
    if (!Next()) return Broken();
    synced_.insert(fs::path(path).filename().string());
    return real_.SyncFile(path);
  }
  absl::Status SyncFolder(const std::string& path) override {
    return Next() ? real_.SyncFolder(path) : Broken();
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    return Next() ? real_.Rename(from, to) : Broken();
  }
  absl::Status Symlink(const std::string& target, const std::string& path) override {
    return Next() ? real_.Symlink(target, path) : Broken();
  }
  absl::Status RemoveAll(const std::string& path) override {
    return Next() ? real_.RemoveAll(path) : Broken();
  }

 private:
  bool Next() {
    if (++count_ != at_) return true;
    if (fault_ == Fault::kPowerLoss) LoseWhatWasNotSynced();
    if (fault_ != Fault::kError) ::raise(SIGKILL);
    return false;
  }
  static absl::Status Broken() { return absl::ResourceExhaustedError("disk full"); }

  // The newest folder is the one that was written by this process.
  void LoseWhatWasNotSynced() {
    for (const auto& entry : fs::recursive_directory_iterator(root_)) {
      const bool ours = absl::StrCat(entry.path().string()).find("v000001") == std::string::npos;
      if (!entry.is_regular_file() || !ours) continue;
      if (synced_.count(entry.path().filename().string()) == 0) fs::resize_file(entry.path(), 0);
    }
  }

  const int at_;
  const Fault fault_;
  const std::string root_;
  RealFiles real_;
  int count_ = 0;
  std::set<std::string> synced_;
};

class PublishTest : public ::testing::Test {
 protected:
  std::string Root() const { return dir_.path() + "/models"; }

  PublishedVersion PublishOrDie(int step) {
    const auto published = Publish(Root(), Draft(step), Files(absl::StrCat("w", step)), files_);
    EXPECT_TRUE(published.ok()) << published.status();
    return *published;
  }

  // What `latest` names, after checking that it is whole.
  std::string CheckedLatest() {
    const auto latest = LatestVersion(Root());
    EXPECT_TRUE(latest.ok()) << latest.status();
    if (!latest.ok()) return "";
    const auto read = model::ReadManifest(latest->dir);
    EXPECT_TRUE(model::VerifyFiles(read->manifest, latest->dir).ok());
    return latest->version;
  }

  test::TempDir dir_;
  RealFiles files_;
};

TEST_F(PublishTest, MovesLatestToACompleteVersion) {
  EXPECT_EQ(LatestVersion(Root()).status().code(), absl::StatusCode::kNotFound);
  const PublishedVersion first = PublishOrDie(1);
  EXPECT_EQ(fs::path(first.dir).filename().string(), "v000001-" + first.version.substr(0, 12));
  EXPECT_EQ(CheckedLatest(), first.version);
  const PublishedVersion second = PublishOrDie(2);
  EXPECT_THAT(second.dir, HasSubstr("/v000002-"));
  EXPECT_EQ(CheckedLatest(), second.version);
  EXPECT_EQ(ListVersions(Root())->size(), 2u);
  EXPECT_FALSE(fs::exists(Root() + "/.publishing"));
}

TEST_F(PublishTest, PublishingTheSameAgainIsTheSameVersion) {
  const PublishedVersion first = PublishOrDie(1);
  PublishOrDie(2);
  const PublishedVersion again = PublishOrDie(1);
  EXPECT_EQ(again.dir, first.dir);
  EXPECT_EQ(CheckedLatest(), first.version);
  EXPECT_EQ(ListVersions(Root())->size(), 2u);
}

TEST_F(PublishTest, TellsOfANewVersionBeforeItIsSeen) {
  PublishedVersion told;
  const auto before = [&](const PublishedVersion& coming) {
    told = coming;
    EXPECT_TRUE(fs::exists(Root() + "/.publishing/manifest.json"));
    EXPECT_FALSE(fs::exists(coming.dir));
    EXPECT_FALSE(fs::exists(Root() + "/latest"));
    return absl::OkStatus();
  };
  const auto published = Publish(Root(), Draft(1), Files("w"), files_, before);
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_EQ(told.version, published->version);
  EXPECT_EQ(told.dir, published->dir);
  const auto full = [](const PublishedVersion&) { return absl::ResourceExhaustedError("full"); };
  EXPECT_TRUE(Publish(Root(), Draft(1), Files("w"), files_, full).ok());  // nothing new is seen
  EXPECT_EQ(Publish(Root(), Draft(2), Files("w"), files_, full).status().message(), "full");
  EXPECT_EQ(CheckedLatest(), published->version);
  EXPECT_EQ(ListVersions(Root())->size(), 1u);
}

TEST_F(PublishTest, KnowsWhatWasTheLatest) {
  EXPECT_TRUE(absl::IsNotFound(HasBeenLatest(Root(), "x").status()));
  const PublishedVersion first = PublishOrDie(1);
  const PublishedVersion second = PublishOrDie(2);
  EXPECT_TRUE(*HasBeenLatest(Root(), first.version));
  EXPECT_TRUE(*HasBeenLatest(Root(), second.version));
  EXPECT_FALSE(*HasBeenLatest(Root(), "x"));
  PublishOrDie(1);  // `latest` goes back to it
  EXPECT_FALSE(*HasBeenLatest(Root(), second.version));
}

TEST_F(PublishTest, AFailingWriterLeavesTheOldState) {
  const PublishedVersion first = PublishOrDie(1);
  const auto failing = [](const std::string& dir) {
    std::ofstream(dir + "/half") << "x";
    return absl::ResourceExhaustedError("no room");
  };
  EXPECT_EQ(Publish(Root(), Draft(2), failing, files_).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(CheckedLatest(), first.version);
  model::Manifest wrong = Draft(2);
  wrong.probes[0].images = {"probes/none.png"};
  EXPECT_EQ(Publish(Root(), wrong, Files("w"), files_).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckedLatest(), first.version);
  PublishOrDie(2);
}

// Every operation in turn fails, is killed, or loses power: then latest is the old version or the
// new one, whole, and publishing again succeeds.
TEST_F(PublishTest, StandsEveryFaultAtEveryStep) {
  for (const Fault fault : {Fault::kError, Fault::kKill, Fault::kPowerLoss}) {
    bool finished = false;
    std::set<std::string> seen;
    for (int at = 1; !finished; ++at) {
      fs::remove_all(Root());
      const std::string old = PublishOrDie(1).version;
      const pid_t child = ::fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        FaultyFiles faulty(at, fault, Root());
        const auto published = Publish(Root(), Draft(2), Files("new"), faulty);
        ::_exit(published.ok() && faulty.operations() < at ? 0 : 1);
      }
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      finished = WIFEXITED(status) && WEXITSTATUS(status) == 0;
      const std::string now = CheckedLatest();
      seen.insert(now == old ? "old" : "new");
      const auto again = Publish(Root(), Draft(2), Files("new"), files_);
      ASSERT_TRUE(again.ok()) << again.status() << " after a fault at step " << at;
      if (now != old) {
        EXPECT_EQ(now, again->version);
      }
      EXPECT_EQ(CheckedLatest(), again->version);
      EXPECT_EQ(ListVersions(Root())->size(), 2u);
      ASSERT_LT(at, 100);
    }
    EXPECT_EQ(seen.size(), 2u);
  }
}

// Runs that end at the same moment: each gets a number of its own, and none fails.
TEST_F(PublishTest, ProcessesThatPublishAtOnceWaitForEachOther) {
  constexpr int kPublishers = 3, kEach = 6;
  std::vector<pid_t> children;
  for (int publisher = 0; publisher < kPublishers; ++publisher) {
    children.push_back(::fork());
    ASSERT_GE(children.back(), 0);
    if (children.back() != 0) continue;
    bool all = true;
    for (int i = 0; i < kEach; ++i) {
      const int step = publisher * kEach + i;
      all = Publish(Root(), Draft(step), Files(absl::StrCat("w", step)), files_).ok() && all;
    }
    ::_exit(all ? 0 : 1);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  const auto versions = ListVersions(Root());
  ASSERT_TRUE(versions.ok()) << versions.status();
  ASSERT_EQ(versions->size(), std::size_t{kPublishers * kEach});
  EXPECT_THAT(versions->back().dir, HasSubstr("/v000018-"));  // none was used twice or left out
  EXPECT_EQ(CheckedLatest(), versions->back().version);
}

// Whoever waits says so once, before it waits: here that is what lets it go on.
TEST_F(PublishTest, ThatAnotherPublisherIsWaitedForIsSaid) {
  const auto hold = [&] {
    const int fd = ::open((Root() + "/.lock").c_str(), O_RDWR | O_CLOEXEC);
    EXPECT_GE(fd, 0);
    EXPECT_EQ(::flock(fd, LOCK_EX | LOCK_NB), 0);
    return fd;
  };
  std::vector<std::string> said;
  int fd = -1;
  const auto on_message = [&](const std::string& line) {
    said.push_back(line);
    ::close(fd);
  };
  const auto publish = [&](int step) {
    return Publish(
        Root(), Draft(step), Files("w"), files_,
        [](const PublishedVersion&) { return absl::OkStatus(); }, on_message);
  };
  ASSERT_TRUE(publish(1).ok());
  EXPECT_THAT(said, testing::IsEmpty());
  fd = hold();
  ASSERT_TRUE(publish(2).ok());
  EXPECT_THAT(said, testing::ElementsAre(HasSubstr("waits for " + Root())));
  fd = hold();
  ASSERT_TRUE(DeleteOldVersions(Root(), 1, files_, "", on_message).ok());
  EXPECT_EQ(said.size(), 2u);
  EXPECT_EQ(ListVersions(Root())->size(), 1u);
}

TEST_F(PublishTest, RetentionSparesLatestPinnedAndServed) {
  std::vector<PublishedVersion> versions;
  for (int step = 1; step <= 6; ++step) versions.push_back(PublishOrDie(step));
  ASSERT_TRUE(SetPinned(versions[0].dir, true).ok());
  auto lease = model::VersionLease::Share(versions[1].dir);
  ASSERT_TRUE(lease.ok()) << lease.status();
  PublishOrDie(3);  // latest goes back to the third

  auto deleted = DeleteOldVersions(Root(), 1, files_);
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_THAT(*deleted, testing::ElementsAre(versions[3].dir, versions[4].dir, versions[5].dir));
  EXPECT_EQ(CheckedLatest(), versions[2].version);
  EXPECT_EQ(ListVersions(Root())->size(), 3u);

  {
    const model::VersionLease dropped = *std::move(lease);
  }
  ASSERT_TRUE(SetPinned(versions[0].dir, false).ok());
  EXPECT_EQ(DeleteOldVersions(Root(), 1, files_)->size(), 2u);
  EXPECT_EQ(DeleteOldVersions(Root(), 1, files_)->size(), 0u);
  EXPECT_EQ(CheckedLatest(), versions[2].version);
}

// Nights in a row whose versions are rejected: what one goes back to stays, and the disk has an
// end.
TEST_F(PublishTest, RetentionBeginsWithWhatWasRejectedOrTakenBack) {
  const PublishedVersion good = PublishOrDie(1);
  const PublishedVersion live = PublishOrDie(2);
  std::vector<PublishedVersion> rejected;
  for (int step = 3; step <= 5; ++step) {
    model::Manifest manifest = Draft(step);
    manifest.rejected = "worse";
    rejected.push_back(*Publish(Root(), manifest, Files(absl::StrCat("w", step)), files_));
  }
  EXPECT_THAT(*DeleteOldVersions(Root(), 3, files_, rejected[2].dir),
              testing::ElementsAre(rejected[0].dir, rejected[1].dir));
  EXPECT_THAT(*DeleteOldVersions(Root(), 2, files_, rejected[2].dir),
              testing::ElementsAre(good.dir));
  EXPECT_THAT(*DeleteOldVersions(Root(), 1, files_), testing::ElementsAre(rejected[2].dir));
  EXPECT_EQ(CheckedLatest(), live.version);
}

TEST_F(PublishTest, RetentionSparesTheLiveVersionBehindALatestThatWasTakenBack) {
  const PublishedVersion old = PublishOrDie(1);
  const PublishedVersion live = PublishOrDie(2);
  const PublishedVersion latest = PublishOrDie(3);
  ASSERT_TRUE(NoteRollback(Root(), latest.version, "slow", files_).ok());
  EXPECT_THAT(*DeleteOldVersions(Root(), 1, files_), testing::ElementsAre(old.dir));
  EXPECT_EQ(LiveVersion(Root())->version, live.version);
}

TEST_F(PublishTest, RetentionBeforeThereIsALatest) {
  for (int step = 1; step <= 2; ++step) {
    model::Manifest manifest = Draft(step);
    manifest.rejected = "worse";
    ASSERT_TRUE(Publish(Root(), manifest, Files(absl::StrCat("w", step)), files_).ok());
  }
  EXPECT_EQ(DeleteOldVersions(Root(), 1, files_)->size(), 1u);
}

TEST_F(PublishTest, ALeaseOnWhatIsBeingDeletedIsRefused) {
  const PublishedVersion version = PublishOrDie(1);
  auto own = model::VersionLease::Own(version.dir);
  ASSERT_TRUE(own.ok());
  EXPECT_EQ(model::VersionLease::Share(version.dir).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(model::VersionLease::Share(Root() + "/none").status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(PublishTest, TheLiveVersionIsTheNewestUpToLatestThatWasNotTakenBack) {
  EXPECT_TRUE(absl::IsNotFound(LiveVersion(Root()).status()));
  const PublishedVersion first = PublishOrDie(1);
  const PublishedVersion second = PublishOrDie(2);
  const PublishedVersion third = PublishOrDie(3);
  EXPECT_EQ(LiveVersion(Root())->version, third.version);
  EXPECT_FALSE(RollbackNote(Root(), third.version).has_value());
  const auto take_back = [&](const PublishedVersion& version) {
    fs::create_directories(Root() + "/.rolled-back");
    std::ofstream(Root() + "/.rolled-back/" + version.version) << "slow";
  };
  take_back(third);
  EXPECT_EQ(*RollbackNote(Root(), third.version), "slow");
  EXPECT_EQ(LiveVersion(Root())->version, second.version);
  PublishOrDie(1);  // `latest` goes back: what lies behind it is not live
  EXPECT_EQ(LiveVersion(Root())->version, first.version);
  take_back(first);
  EXPECT_TRUE(absl::IsNotFound(LiveVersion(Root()).status()));
}

}  // namespace
}  // namespace llava::training
