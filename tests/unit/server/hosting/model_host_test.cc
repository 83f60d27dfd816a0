#include "server/hosting/model_host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/rng.h"
#include "model/checkpoint/manifest.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/fake_backend.h"
#include "tests/support/temp_dir.h"

namespace llava::server {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ModelHostTest : public ::testing::Test {
 protected:
  ModelHostTest() : log_(observe::Log::ToNowhere(&clock_)) {
    config_.kv_cache_bytes = 4 << 20;
    host_ = std::make_unique<ModelHost>(config_, &backend_, &clock_, log_.get(), nullptr);
    model::CopyGoldenFiles(dir_.path());
  }
  absl::Status Verify(const registry::ShouldContinue& should_continue = [] {
    return absl::OkStatus();
  }) {
    return host_->Verify(dir_.path(), host_->Identify(dir_.path())->digest, should_continue);
  }
  absl::StatusOr<registry::LoadedVersion> Load(bool beside = false) {
    return host_->Load(dir_.path(), host_->Identify(dir_.path())->digest, beside);
  }

  // Publishes what lies in the folder; the version's name.
  std::string WriteManifest(const std::vector<model::Probe>& probes = {}) {
    model::Manifest manifest;
    manifest.files = *model::DescribeFiles(dir_.path());
    manifest.step = 7;
    manifest.probes = probes;
    const std::string json = model::ManifestJson(manifest);
    model::WriteBytes(dir_.path() + "/manifest.json", json);
    return model::VersionOf(json);
  }

  RealClock clock_;
  Config config_;
  testing::FakeBackend backend_;
  const std::unique_ptr<observe::Log> log_;
  test::TempDir dir_;
  std::unique_ptr<ModelHost> host_;
};

TEST_F(ModelHostTest, AnEngineIsToldIntoHowManyPartsATileCanBeCut) {
  backend_.encoder_parts = 7;
  const auto loaded = Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const auto engines = host_->EnginesFor(*loaded, /*beside=*/false);
  ASSERT_TRUE(engines.ok()) << engines.status();
  EXPECT_EQ(engines->front()->scheduler().options().encoder_parts, 7);
}

TEST_F(ModelHostTest, AVersionIsCalledAsItsManifestSays) {
  const auto unpublished = host_->Identify(dir_.path());
  ASSERT_TRUE(unpublished.ok()) << unpublished.status();
  const std::string version = WriteManifest();
  const auto published = host_->Identify(dir_.path());
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_EQ(published->digest.Hex(), version);
  EXPECT_NE(unpublished->digest, published->digest);
  EXPECT_EQ(published->step, 7);
  EXPECT_EQ(host_->Identify(dir_.path() + "/no").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ModelHostTest, VerifiesHashesAndText) {
  WriteManifest();
  EXPECT_TRUE(Verify().ok());
  const auto stop = [] { return absl::CancelledError("stopping"); };
  EXPECT_EQ(Verify(stop).code(), absl::StatusCode::kCancelled);
  model::EditFile(dir_.path() + "/config.json", "56", "65");
  EXPECT_EQ(Verify().code(), absl::StatusCode::kDataLoss);
}

// Puts something else in the place of a file, as a broken or hostile publisher may at any time.
void Replace(const fs::path& file, Rng& rng) {
  std::error_code ignored;
  const auto size = fs::file_size(file, ignored);
  switch (rng.Below(9)) {
    case 0:
      fs::remove_all(file, ignored);
      fs::create_symlink(file.filename(), file, ignored);  // in a circle
      break;
    case 1:
      fs::remove_all(file, ignored);
      mkfifo(file.c_str(), 0600);
      break;
    case 2:
      fs::remove_all(file, ignored);
      fs::create_symlink("/dev/zero", file, ignored);
      break;
    case 3:
      fs::remove_all(file, ignored);
      fs::create_directory(file, ignored);
      fs::create_symlink("..", file / "up", ignored);
      break;
    case 4:
      fs::permissions(file, fs::perms::none, ignored);
      break;
    case 5:
      fs::rename(file, file.string() + ".moved", ignored);
      break;
    case 6:
      if (fs::is_regular_file(file, ignored)) fs::resize_file(file, size / 2, ignored);
      break;
    case 7:
      if (fs::is_regular_file(file, ignored)) fs::resize_file(file, size + 4096, ignored);
      break;
    default:
      fs::remove_all(file, ignored);
      break;
  }
}

// Whatever lies there, and whatever becomes of it meanwhile, is an error of that version: nothing
// is thrown, nothing is waited for, and what is not as published is not loaded.
TEST_F(ModelHostTest, AFolderOfAnythingIsAnErrorAndNoMore) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(dir_.path())) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  names.push_back("manifest.json");
  names.push_back("a_file_more");
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    fs::remove_all(dir_.path());
    fs::create_directory(dir_.path());
    model::CopyGoldenFiles(dir_.path());
    WriteManifest();
    const Digest version = host_->Identify(dir_.path())->digest;
    const auto disturb = [&] {
      Replace(fs::path(dir_.path()) / names[rng.Below(names.size())], rng);
    };
    const bool before = rng.Chance(0.5);
    if (before) disturb();
    const auto meanwhile = [&] {
      if (!before && rng.Chance(0.3)) disturb();
      return absl::OkStatus();
    };
    host_->Identify(dir_.path()).status().IgnoreError();
    const absl::Status verified = host_->Verify(dir_.path(), version, meanwhile);
    EXPECT_EQ(verified.message().find("unexpected"), absl::string_view::npos) << verified;
    host_->Load(dir_.path(), version, false).status().IgnoreError();
  }
}

TEST_F(ModelHostTest, AFolderThatWasReplacedIsAnotherVersion) {
  WriteManifest();
  const Digest expected = host_->Identify(dir_.path())->digest;
  WriteManifest({{"What is this?", {}, "vicuna_v1", {5, 6}}});
  const auto should_continue = [] { return absl::OkStatus(); };
  EXPECT_EQ(host_->Verify(dir_.path(), expected, should_continue).code(),
            absl::StatusCode::kAborted);
  EXPECT_EQ(host_->Load(dir_.path(), expected, false).status().code(), absl::StatusCode::kAborted);
}

TEST_F(ModelHostTest, ProbesAreAskedWithTheirOwnTemplate) {
  WriteManifest({{"What is this?", {}, "vicuna_v1", {5, 6}}, {"And this?", {}, "plain", {}}});
  const auto loaded = Load(false);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_EQ(loaded->probes.size(), 1u);  // without ids there is nothing to compare
  EXPECT_EQ(loaded->probes[0].request.sampling.max_tokens, 2);
  EXPECT_EQ(loaded->probes[0].expected, (std::vector<std::int32_t>{5, 6}));
  EXPECT_NE(loaded->claim, nullptr);
  WriteManifest({{"What is this?", {}, "no_such_template", {5}}});
  EXPECT_THAT(Load(false).status().message(), HasSubstr("no_such_template"));
}

TEST_F(ModelHostTest, EnginesOnOneDeviceShareTheWeights) {
  config_.devices = {"cpu", "cpu"};
  host_ = std::make_unique<ModelHost>(config_, &backend_, &clock_, log_.get(), nullptr);
  const auto loaded = Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_EQ(loaded->models.size(), 2u);
  EXPECT_EQ(loaded->models[0], loaded->models[1]);
  EXPECT_EQ(host_->EnginesFor(*loaded, false)->size(), 2u);
}

TEST_F(ModelHostTest, RefusesWhatDoesNotFitBeside) {
  auto loaded = Load(false);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_TRUE(host_->EnginesFor(*loaded, false).ok());
  backend_.memory = std::int64_t{1} << 50;
  const absl::Status refused = Load(true).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(refused.message(), HasSubstr("needs 1073742080.0 MiB"));
  EXPECT_THAT(refused.message(), HasSubstr("beside the version that is served"));
  EXPECT_THAT(refused.message(), HasSubstr("reload: swap"));
}

TEST_F(ModelHostTest, EnginesAreMadeAnewOnlyWhenNothingIsLoaded) {
  auto loaded = Load(false);
  ASSERT_TRUE(loaded.ok());
  const auto first = host_->EnginesFor(*loaded, false);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(*host_->EnginesFor(*loaded, true), *first);
  // Requests may be as long as the first model's context.
  model::EditFile(dir_.path() + "/config.json", "\"max_position_embeddings\": 512",
                  "\"max_position_embeddings\": 128");
  auto shorter = Load(true);
  ASSERT_TRUE(shorter.ok()) << shorter.status();
  EXPECT_EQ(host_->EnginesFor(*shorter, true).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(host_->EnginesFor(*shorter, false).ok());
  host_->StopEngines();
  EXPECT_FALSE(host_->EnginesFor(*shorter, false).ok());
}

}  // namespace
}  // namespace llava::server
