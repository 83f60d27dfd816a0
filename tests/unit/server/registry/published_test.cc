// Folders that others write to: nothing in them makes the daemon throw or wait.
#include "server/registry/published.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/file.h"
#include "tests/support/temp_dir.h"

namespace llava::registry {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PublishedTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return root_.path() + "/" + name; }
  void MakeVersion(const std::string& name) {
    fs::create_directory(Path(name));
    std::ofstream(Path(name + "/manifest.json")) << "{}";
  }
  void MakePipe(const std::string& name) { ASSERT_EQ(mkfifo(Path(name).c_str(), 0600), 0); }
  void MakeSocket(const std::string& name) {
    const FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    ASSERT_LT(Path(name).size(), sizeof(address.sun_path));
    std::strcpy(address.sun_path, Path(name).c_str());
    ASSERT_EQ(bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }

  test::TempDir root_;
  const Digest version_ = Sha256Of("a");
};

TEST_F(PublishedTest, ListsFoldersWithAManifestThatIsAFile) {
  MakeVersion("v1");
  MakeVersion("v2");
  MakeVersion(".hidden");
  fs::create_directory(Path("pipe"));
  MakePipe("pipe/manifest.json");
  fs::create_directory(Path("socket"));
  MakeSocket("socket/manifest.json");
  fs::create_directory(Path("device"));
  fs::create_symlink("/dev/zero", Path("device/manifest.json"));
  fs::create_directory(Path("circle"));
  fs::create_symlink("manifest.json", Path("circle/manifest.json"));
  fs::create_symlink("loop", Path("loop"));
  fs::create_directory_symlink("v1", Path("latest"));
  std::ofstream(Path("file")) << "no folder";
  EXPECT_THAT(ListVersions(root_.path()), ElementsAre(Path("v2"), Path("v1")));
  EXPECT_THAT(ListVersions(Path("none")), IsEmpty());
}

TEST_F(PublishedTest, AFingerprintOfWhateverLiesThere) {
  MakeVersion("v1");
  MakePipe("v1/pipe");
  fs::create_symlink("loop", Path("v1/loop"));
  fs::create_symlink("nowhere", Path("v1/dangling"));
  const std::string before = FolderFingerprint(Path("v1"));
  EXPECT_EQ(FolderFingerprint(Path("v1")), before);
  std::ofstream(Path("v1/config.json")) << "{}";
  EXPECT_NE(FolderFingerprint(Path("v1")), before);
  fs::create_symlink("circle", Path("circle"));
  EXPECT_EQ(FolderFingerprint(Path("circle")), "error 40");  // ELOOP
}

TEST_F(PublishedTest, LatestMayBeAnything) {
  EXPECT_FALSE(ReadLatestLink(root_.path()).has_value());
  fs::create_symlink("latest", Path("latest"));
  EXPECT_EQ(ReadLatestLink(root_.path()), Path("latest"));
  fs::remove(Path("latest"));
  MakePipe("latest");
  EXPECT_FALSE(ReadLatestLink(root_.path()).has_value());
}

TEST_F(PublishedTest, ANoteIsReadWrittenAndDeleted) {
  EXPECT_FALSE(ReadRollbackNote(root_.path(), version_).has_value());
  ASSERT_TRUE(WriteRollbackNote(root_.path(), version_, "odd").ok());
  EXPECT_EQ(ReadRollbackNote(root_.path(), version_), "odd");
  ASSERT_TRUE(WriteRollbackNote(root_.path(), version_, "odder").ok());
  EXPECT_EQ(ReadRollbackNote(root_.path(), version_), "odder");
  DeleteRollbackNote(root_.path(), version_);
  EXPECT_FALSE(ReadRollbackNote(root_.path(), version_).has_value());
}

TEST_F(PublishedTest, APipeInThePlaceOfANoteIsNotWaitedFor) {
  fs::create_directory(Path(".rolled-back"));
  MakePipe(".rolled-back/" + version_.Hex());
  EXPECT_FALSE(ReadRollbackNote(root_.path(), version_).has_value());
  ASSERT_TRUE(WriteRollbackNote(root_.path(), version_, "odd").ok());
  EXPECT_EQ(ReadRollbackNote(root_.path(), version_), "odd");
}

TEST_F(PublishedTest, ALinkInACircleInThePlaceOfTheNotesIsAnError) {
  fs::create_symlink(".rolled-back", Path(".rolled-back"));
  EXPECT_FALSE(ReadRollbackNote(root_.path(), version_).has_value());
  EXPECT_FALSE(WriteRollbackNote(root_.path(), version_, "odd").ok());
  DeleteRollbackNote(root_.path(), version_);
}

}  // namespace
}  // namespace llava::registry
