#include "model/checkpoint/manifest.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

using ::testing::HasSubstr;

class ManifestTest : public ::testing::Test {
 protected:
  ManifestTest() {
    Write("config.json", "{}");
    Write("model.safetensors", std::string(3'000'000, 'w'));
    std::filesystem::create_directory(dir_.path() + "/probes");
    Write("probes/0.png", "png");
    Write(".lock", "passed over");
    manifest_.files = *DescribeFiles(dir_.path());
    manifest_.parent = std::string(64, 'a');
    manifest_.name = "llava-x";
    manifest_.adapter = std::string(64, 'b');
    manifest_.recipe = "name: \"x\"\n";
    manifest_.data_fingerprint = "ff";
    manifest_.step = 12;
    manifest_.evaluation = {{"colour", 0.984375}, {"count", 1}};
    manifest_.probes = {{"What is it?", {"probes/0.png"}, "vicuna_v1", {5, 6, 2}}};
  }

  void Write(const std::string& name, const std::string& bytes) {
    std::ofstream(dir_.path() + "/" + name, std::ios::binary) << bytes;
  }
  absl::Status Verify() { return VerifyFiles(manifest_, dir_.path()); }

  test::TempDir dir_;
  Manifest manifest_;
};

TEST_F(ManifestTest, RoundTripsAndNamesItsVersion) {
  const std::string json = ManifestJson(manifest_);
  const auto again = ParseManifest(json);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, manifest_);
  EXPECT_EQ(ManifestJson(*again), json);
  Write(kManifestFile, json);
  const auto read = ReadManifest(dir_.path());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->manifest, manifest_);
  EXPECT_EQ(read->version, VersionOf(json));
  EXPECT_EQ(read->version.size(), 64u);
  EXPECT_TRUE(Verify().ok()) << Verify();
}

TEST_F(ManifestTest, ExamsAndARejectionRoundTrip) {
  EXPECT_EQ(ManifestJson(manifest_).find("evaluations"), std::string::npos);
  manifest_.evaluations = {{"rows", "ab", "exact", 60, {{"total", 0.5}}},
                           {"rows", "cd", "exact", 7, {}}};
  manifest_.rejected = "evaluate: total is 0.5, required is 0.9";
  const auto again = ParseManifest(ManifestJson(manifest_));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, manifest_);
}

TEST_F(ManifestTest, CapturedShardsRoundTripAndAreCheckedForTheirKeys) {
  EXPECT_EQ(ManifestJson(manifest_).find("captured"), std::string::npos);
  manifest_.captured = {{"1700000000000", Sha256Of("rows"), 12}};
  const std::string json = ManifestJson(manifest_);
  EXPECT_EQ(*ParseManifest(json), manifest_);
  std::string damaged = json;
  damaged.replace(damaged.find("\"rows\":12"), 9, "\"rows\":\"\"");
  EXPECT_THAT(ParseManifest(damaged).status().message(),
              ::testing::HasSubstr("captured[0].rows: expected an integer"));
}

TEST_F(ManifestTest, DescribesEveryFileButTheManifest) {
  ASSERT_EQ(manifest_.files.size(), 3u);
  EXPECT_EQ(manifest_.files[0].path, "config.json");
  EXPECT_EQ(manifest_.files[0].sha256, Sha256Of("{}"));
  EXPECT_EQ(manifest_.files[1].size, 3'000'000u);
  EXPECT_EQ(manifest_.files[2].path, "probes/0.png");
}

TEST_F(ManifestTest, FindsEveryDamage) {
  Write("config.json", "[]");
  EXPECT_EQ(Verify().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(Verify().message(), HasSubstr("config.json: has SHA-256"));
  Write("config.json", "{} ");
  EXPECT_THAT(Verify().message(), HasSubstr("has 3 bytes, the manifest says 2"));
  std::filesystem::remove(dir_.path() + "/config.json");
  EXPECT_EQ(Verify().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(Verify().message(), HasSubstr("config.json"));
  Write("config.json", "{}");
  Write("tokenizer.json", "{}");
  EXPECT_THAT(Verify().message(), HasSubstr("tokenizer.json: is not in the manifest"));
}

// A folder that others write to may hold anything: never an exception, never a wait.
TEST_F(ManifestTest, OddEntriesOfAFolderAreErrors) {
  const std::string odd = dir_.path() + "/odd";
  std::filesystem::create_symlink("odd", odd);  // a circle
  EXPECT_FALSE(DescribeFiles(dir_.path()).ok());
  EXPECT_THAT(Verify().message(), HasSubstr("odd: is not in the manifest"));
  std::filesystem::remove(odd);
  std::filesystem::create_symlink("absent", odd);
  EXPECT_FALSE(DescribeFiles(dir_.path()).ok());
  std::filesystem::remove(odd);
  ASSERT_EQ(mkfifo(odd.c_str(), 0600), 0);
  EXPECT_FALSE(DescribeFiles(dir_.path()).ok());
  EXPECT_THAT(Verify().message(), HasSubstr("odd: is not in the manifest"));
  std::filesystem::remove(odd);
  for (const char* target : {"/dev/zero", "config.json"}) {
    std::filesystem::remove(dir_.path() + "/config.json");
    std::filesystem::create_symlink(target, dir_.path() + "/config.json");
    EXPECT_EQ(Verify().code(), absl::StatusCode::kDataLoss) << Verify();
  }
  std::filesystem::remove(dir_.path() + "/config.json");
  ASSERT_EQ(mkfifo((dir_.path() + "/config.json").c_str(), 0600), 0);
  EXPECT_EQ(Verify().code(), absl::StatusCode::kDataLoss) << Verify();
  ASSERT_EQ(mkfifo((dir_.path() + "/" + kManifestFile).c_str(), 0600), 0);
  EXPECT_EQ(ReadManifest(dir_.path()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ManifestTest, AFileThatGrowsOrShrinksWhileItIsReadIsFound) {
  for (const std::uintmax_t size : {1'000'000, 4'000'000}) {
    std::filesystem::resize_file(dir_.path() + "/" + manifest_.files[1].path, 3'000'000);
    const auto resize = [&](std::uint64_t) {
      std::filesystem::resize_file(dir_.path() + "/" + manifest_.files[1].path, size);
      return absl::OkStatus();
    };
    EXPECT_EQ(VerifyFiles(manifest_, dir_.path(), resize).code(), absl::StatusCode::kDataLoss);
  }
}

TEST_F(ManifestTest, CanBeThrottledAndCancelled) {
  std::uint64_t bytes = 0;
  const auto count = [&](std::uint64_t piece) {
    bytes += piece;
    return absl::OkStatus();
  };
  EXPECT_TRUE(VerifyFiles(manifest_, dir_.path(), count).ok());
  EXPECT_EQ(bytes, 3'000'005u);
  EXPECT_EQ(VerifyFiles(manifest_, dir_.path(),
                        [](std::uint64_t) { return absl::CancelledError("stop"); })
                .code(),
            absl::StatusCode::kCancelled);
}

TEST_F(ManifestTest, NamesTheKeyThatIsWrong) {
  EXPECT_EQ(ReadManifest(dir_.path()).status().code(), absl::StatusCode::kNotFound);
  const std::string good = ManifestJson(manifest_);
  const struct {
    const char* from;
    const char* to;
    const char* message;
  } cases[] = {
      {"\"format\":1", "\"format\":2", "format: expected 1"},
      {"\"path\":\"config.json\"", "\"path\":\"../x\"", "files[0].path: expected a path inside"},
      {"\"path\":\"config.json\"", "\"path\":\"/x\"", "files[0].path: expected a path inside"},
      {"\"path\":\"config.json\"", "\"path\":\"probes/0.png\"",
       "files[2].path: expected each path"},
      {"\"size\":2,", "\"size\":-2,", "files[0].size: expected a number"},
      {"\"sha256\":\"", "\"sha256\":\"xy", "files[0].sha256: expected 64"},
      {"\"step\":12", "\"step\":\"12\"", "step: expected an integer"},
      {"[5,6,2]", "[5,-6,2]", "probes[0].greedy_ids: expected token ids"},
      {"[\"probes/0.png\"]", "[\"probes/1.png\"]", "probes[0].images: expected files"},
      {"\"parent\"", "\"pa\"", "parent: expected a string"},
  };
  for (const auto& c : cases) {
    std::string bad = good;
    const std::size_t at = bad.find(c.from);
    ASSERT_NE(at, bad.npos) << c.from;
    bad.replace(at, std::string(c.from).size(), c.to);
    const auto parsed = ParseManifest(bad);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << c.to;
    EXPECT_THAT(parsed.status().message(), HasSubstr(c.message)) << c.to;
  }
  EXPECT_EQ(ParseManifest("nonsense").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace llava::model
