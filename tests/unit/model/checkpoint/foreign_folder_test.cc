#include "model/checkpoint/foreign_folder.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ForeignFolderTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return dir_.path() + "/" + name; }
  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(Path(name), std::ios::binary) << bytes;
  }

  test::TempDir dir_;
};

TEST_F(ForeignFolderTest, NothingIsSaidOfACheckpoint) {
  EXPECT_THAT(DescribeForeignFolder("tests/golden/data/checkpoint"), IsEmpty());
  EXPECT_THAT(DescribeForeignFolder(dir_.path()), IsEmpty());  // that is for the other readers
}

TEST_F(ForeignFolderTest, AGgufFileOrAFolderOfThem) {
  Write("llava-q4.gguf", "GGUF\x03");
  EXPECT_THAT(DescribeForeignFolder(Path("llava-q4.gguf")),
              ElementsAre(AllOf(HasSubstr("llava-q4.gguf"), HasSubstr("GGUF"))));
  EXPECT_THAT(DescribeForeignFolder(dir_.path()),
              ElementsAre(AllOf(HasSubstr("(llava-q4.gguf)"), HasSubstr("llama.cpp"))));
  Write("model.safetensors", "");  // a checkpoint with a conversion beside it
  EXPECT_THAT(DescribeForeignFolder(dir_.path()), IsEmpty());
}

TEST_F(ForeignFolderTest, AnAdapterWithoutItsModel) {
  Write("adapter_config.json",
        R"({"peft_type": "LORA", "base_model_name_or_path": "liuhaotian/llava-v1.5-7b"})");
  Write("adapter_model.safetensors", "");
  EXPECT_THAT(DescribeForeignFolder(dir_.path()),
              ElementsAre(AllOf(HasSubstr("is a LORA adapter for \"liuhaotian/llava-v1.5-7b\""),
                                HasSubstr("merge it"))));
}

TEST_F(ForeignFolderTest, WeightsForOtherPrograms) {
  const std::pair<const char*, const char*> files[] = {{"tf_model.h5", "TensorFlow"},
                                                       {"flax_model.msgpack", "Flax"},
                                                       {"model.onnx", "ONNX"},
                                                       {"openvino_model.xml", "OpenVINO"},
                                                       {"weights.00.npz", "MLX"},
                                                       {"model.tflite", "TensorFlow Lite"},
                                                       {"consolidated.00.pth", "own code"}};
  Write("config.json", "{}");
  for (const auto& [name, whose] : files) {
    Write(name, "x");
    EXPECT_THAT(DescribeForeignFolder(dir_.path()),
                ElementsAre(AllOf(HasSubstr("weights for "), HasSubstr(whose),
                                  HasSubstr(std::string("(") + name + ")"))));
    std::filesystem::remove(Path(name));
  }
  std::filesystem::create_directory(Path("onnx"));
  Write("onnx/decoder.onnx", "x");
  EXPECT_THAT(DescribeForeignFolder(dir_.path()),
              ElementsAre(AllOf(HasSubstr("/onnx: has"), HasSubstr("(decoder.onnx)"))));
  Write("model.safetensors", "");  // a checkpoint with conversions beside it
  EXPECT_THAT(DescribeForeignFolder(dir_.path()), IsEmpty());
}

TEST_F(ForeignFolderTest, TheFolderAroundCheckpoints) {
  for (const char* name : {"b", "a", "c"}) std::filesystem::create_directory(Path(name));
  Write("notes.txt", "x");
  EXPECT_THAT(DescribeForeignFolder(dir_.path()), IsEmpty());
  for (const char* name : {"b/config.json", "a/config.json"}) Write(name, "{}");
  EXPECT_THAT(DescribeForeignFolder(dir_.path()),
              ElementsAre(HasSubstr("has no config.json, folders in it have one (a, b)")));
  Write("config.json", "{}");  // a checkpoint with its tower in a folder
  EXPECT_THAT(DescribeForeignFolder(dir_.path()), IsEmpty());
}

TEST_F(ForeignFolderTest, PointersOfGitLfs) {
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 133\n";
  Write("config.json", "{}");
  for (const char* name : {"model.safetensors", "tokenizer.model"}) Write(name, pointer);
  EXPECT_THAT(DescribeForeignFolder(dir_.path()),
              ElementsAre(AllOf(HasSubstr("(model.safetensors, tokenizer.model)"),
                                HasSubstr("git lfs pull"))));
}

TEST_F(ForeignFolderTest, NoFolderAndNoFile) {
  EXPECT_THAT(DescribeForeignFolder(Path("absent")), ElementsAre(HasSubstr("found nothing")));
  Write("notes.txt", "some text");
  EXPECT_THAT(DescribeForeignFolder(Path("notes.txt")), ElementsAre(HasSubstr("something else")));
}

// Pipes and links in a circle beside the files are passed over, not waited for.
TEST_F(ForeignFolderTest, OddEntriesDoNotHang) {
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  std::filesystem::create_symlink("loop", Path("loop"));
  EXPECT_THAT(DescribeForeignFolder(dir_.path()), IsEmpty());
  EXPECT_THAT(DescribeForeignFolder(Path("loop")), ElementsAre(HasSubstr("something else")));
  EXPECT_THAT(DescribeForeignFolder(Path("pipe")), ElementsAre(HasSubstr("something else")));
}

}  // namespace
}  // namespace llava::model
