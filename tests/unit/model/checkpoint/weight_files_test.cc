#include "model/checkpoint/weight_files.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class WeightFilesTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return dir_.path() + "/" + name; }
  void Write(const std::string& name, const std::string& text = "") const {
    std::ofstream(Path(name)) << text;
  }
  std::string ErrorOf(absl::StatusCode code) const {
    const absl::Status status = FindWeightFiles(dir_.path()).status();
    EXPECT_EQ(status.code(), code) << status;
    return std::string(status.message());
  }

  test::TempDir dir_;
};

TEST_F(WeightFilesTest, SafetensorsCountBeforePickles) {
  EXPECT_THAT(ErrorOf(absl::StatusCode::kNotFound), HasSubstr("no weights"));
  Write("pytorch_model.bin");
  EXPECT_THAT(FindWeightFiles(dir_.path())->paths, ElementsAre(Path("pytorch_model.bin")));
  Write("model.safetensors");
  const auto files = FindWeightFiles(dir_.path());
  EXPECT_THAT(files->paths, ElementsAre(Path("model.safetensors")));
  EXPECT_EQ(files->index_path, "");
}

TEST_F(WeightFilesTest, AnIndexNamesShards) {
  Write("b.safetensors");
  Write("a.safetensors");
  Write("model.safetensors.index.json",
        R"({"weight_map": {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}})");
  const auto files = FindWeightFiles(dir_.path());
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_THAT(files->paths, ElementsAre(Path("a.safetensors"), Path("b.safetensors")));
  EXPECT_EQ(files->keys.at("z"), Path("b.safetensors"));
  EXPECT_EQ(files->index_path, Path("model.safetensors.index.json"));
}

TEST_F(WeightFilesTest, FaultsOfAnIndex) {
  const std::string index = "model.safetensors.index.json";
  Write(index, "{}");
  EXPECT_THAT(ErrorOf(absl::StatusCode::kInvalidArgument), HasSubstr("weight_map"));
  for (const char* shard : {"\"../x\"", "\"\"", "\"..\"", "7", "\"a/b\""}) {
    Write(index, std::string(R"({"weight_map": {"x": )") + shard + "}}");
    EXPECT_THAT(ErrorOf(absl::StatusCode::kInvalidArgument), HasSubstr("the name of a file"));
  }
  Write(index, R"({"weight_map": {"x": "gone.safetensors"}})");
  EXPECT_THAT(ErrorOf(absl::StatusCode::kNotFound), HasSubstr("gone.safetensors"));
}

// What cannot be told is there, so that reading it says why.
TEST_F(WeightFilesTest, ALinkInACircleIsNotPassedOver) {
  std::filesystem::create_symlink("model.safetensors", Path("model.safetensors"));
  Write("pytorch_model.bin");
  EXPECT_THAT(FindWeightFiles(dir_.path())->paths, ElementsAre(Path("model.safetensors")));
}

}  // namespace
}  // namespace llava::model
