#include "training/run/quantize_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/manifest.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using testing::HasSubstr;

constexpr char kGolden[] = "tests/golden/data/checkpoint";

TEST(QuantizeCheckpoint, WritesAVersionOfItsOwn) {
  const test::TempDir dir;
  // The golden checkpoint as a version with probes and scores.
  const std::string source = absl::StrCat(dir.path(), "/source");
  std::filesystem::copy(kGolden, source, std::filesystem::copy_options::recursive);
  std::filesystem::remove(source + "/manifest.json");
  model::Manifest manifest;
  manifest.files = *model::DescribeFiles(source);
  manifest.name = "golden";
  manifest.step = 7;
  manifest.evaluation = {{"total", 0.5}};
  const std::string json = model::ManifestJson(manifest);
  std::ofstream(source + "/manifest.json") << json;

  const std::string out = absl::StrCat(dir.path(), "/int4");
  const auto version = QuantizeCheckpoint(source, "int4", out);
  ASSERT_TRUE(version.ok()) << version.status();
  const auto written = model::ReadManifest(out);
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->version, *version);
  EXPECT_EQ(written->manifest.parent, model::VersionOf(json));
  EXPECT_EQ(written->manifest.name, "golden");
  EXPECT_EQ(written->manifest.step, 7);
  EXPECT_TRUE(written->manifest.evaluation.empty());
  EXPECT_TRUE(model::VerifyFiles(written->manifest, out).ok());
}

TEST(QuantizeCheckpoint, LeavesNothingBehindWhenItFails) {
  const test::TempDir dir;
  const std::string out = absl::StrCat(dir.path(), "/out");
  EXPECT_THAT(std::string(QuantizeCheckpoint(kGolden, "int2", out).status().message()),
              HasSubstr("int2"));
  EXPECT_FALSE(QuantizeCheckpoint(absl::StrCat(dir.path(), "/none"), "int8", out).ok());
  EXPECT_FALSE(std::filesystem::exists(out));
  std::filesystem::create_directory(out);
  EXPECT_EQ(QuantizeCheckpoint(kGolden, "int8", out).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(std::filesystem::exists(out));
}

}  // namespace
}  // namespace llava::training
