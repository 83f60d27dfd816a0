#include "training/publish/file_layer.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class RealFilesTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return dir_.path() + "/" + name; }

  std::string Read(const std::string& name) const {
    std::ifstream in(Path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  test::TempDir dir_;
  RealFiles files_;
};

TEST_F(RealFilesTest, WritesAllBytesAndReplacesWhatWasThere) {
  std::string bytes(std::size_t{3} << 20, 'x');
  bytes[7] = '\0';
  bytes.back() = '\n';
  ASSERT_TRUE(files_.WriteFile(Path("a"), bytes).ok());
  EXPECT_EQ(Read("a"), bytes);
  ASSERT_TRUE(files_.WriteFile(Path("a"), "short").ok());
  EXPECT_EQ(Read("a"), "short");
  struct stat info{};
  ASSERT_EQ(::stat(Path("a").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0111, 0u);
  EXPECT_NE(info.st_mode & 0600, 0u);
}

TEST_F(RealFilesTest, MakesFoldersWithTheirParentsAndAgain) {
  EXPECT_TRUE(files_.MakeFolder(Path("a/b/c")).ok());
  EXPECT_TRUE(files_.MakeFolder(Path("a/b/c")).ok());
  EXPECT_TRUE(fs::is_directory(Path("a/b/c")));
}

TEST_F(RealFilesTest, RenamesOverWhatIsThere) {
  ASSERT_TRUE(files_.WriteFile(Path("new"), "new").ok());
  ASSERT_TRUE(files_.WriteFile(Path("old"), "old").ok());
  ASSERT_TRUE(files_.Rename(Path("new"), Path("old")).ok());
  EXPECT_EQ(Read("old"), "new");
  EXPECT_FALSE(fs::exists(Path("new")));
}

// `latest` is a link that is made aside and renamed over the old one.
TEST_F(RealFilesTest, LinksAreRenamedAndNotFollowed) {
  ASSERT_TRUE(files_.MakeFolder(Path("v1")).ok());
  ASSERT_TRUE(files_.Symlink("v1", Path("latest")).ok());
  ASSERT_TRUE(files_.Symlink("v2", Path("aside")).ok());  // may name what is not there yet
  ASSERT_TRUE(files_.Rename(Path("aside"), Path("latest")).ok());
  EXPECT_EQ(fs::read_symlink(Path("latest")), "v2");
  EXPECT_EQ(files_.Symlink("v3", Path("latest")).code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(RealFilesTest, RemovesAFolderWithWhatIsInItAndNotWhatItsLinksName) {
  ASSERT_TRUE(files_.MakeFolder(Path("a/b")).ok());
  ASSERT_TRUE(files_.WriteFile(Path("a/b/c"), "c").ok());
  ASSERT_TRUE(files_.WriteFile(Path("kept"), "kept").ok());
  ASSERT_TRUE(files_.Symlink(Path("kept"), Path("a/link")).ok());
  EXPECT_TRUE(files_.RemoveAll(Path("a")).ok());
  EXPECT_FALSE(fs::exists(Path("a")));
  EXPECT_EQ(Read("kept"), "kept");
  EXPECT_TRUE(files_.RemoveAll(Path("a")).ok());  // nothing is left to remove
}

TEST_F(RealFilesTest, SyncsFilesAndFoldersAndTellsThemApart) {
  ASSERT_TRUE(files_.WriteFile(Path("a"), "a").ok());
  EXPECT_TRUE(files_.SyncFile(Path("a")).ok());
  EXPECT_TRUE(files_.SyncFolder(dir_.path()).ok());
  EXPECT_THAT(std::string(files_.SyncFolder(Path("a")).message()),
              HasSubstr("opening " + Path("a")));
}

TEST_F(RealFilesTest, ErrorsHaveTheSystemsCodeAndNameThePath) {
  const auto expect = [](const absl::Status& status, absl::StatusCode code,
                         const std::string& message) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  };
  const auto missing = absl::StatusCode::kNotFound;
  expect(files_.WriteFile(Path("no/a"), "a"), missing, "opening " + Path("no/a"));
  expect(files_.SyncFile(Path("no")), missing, "opening " + Path("no"));
  expect(files_.SyncFolder(Path("no")), missing, "opening " + Path("no"));
  expect(files_.Rename(Path("no"), Path("b")), missing, "renaming to " + Path("b"));
  expect(files_.Symlink("a", Path("no/link")), missing, "linking " + Path("no/link"));
  ASSERT_TRUE(files_.WriteFile(Path("file"), "a").ok());
  const absl::Status below_a_file = files_.MakeFolder(Path("file/below"));
  EXPECT_FALSE(below_a_file.ok());
  EXPECT_THAT(std::string(below_a_file.message()), HasSubstr("making " + Path("file/below")));
  expect(files_.WriteFile("/dev/full", "a"), absl::StatusCode::kResourceExhausted,
         "writing /dev/full");
}

}  // namespace
}  // namespace llava::training
