#include "server/commands/inspect_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/manifest.h"
#include "server/commands/generate_command.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/temp_dir.h"

namespace llava {
namespace {

using model::FixtureTensors;
using test::TempDir;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class InspectTest : public testing::Test {
 protected:
  void SetUp() override { model::WriteCheckpoint(dir_.path(), model::GoldenTensors()); }

  Inspection InspectIt(bool verify = false) const {
    return Inspect({.directory = dir_.path(), .vision_tower_dir = "", .verify = verify});
  }

  std::string File(const std::string& name) const { return absl::StrCat(dir_.path(), "/", name); }

  TempDir dir_;
};

TEST_F(InspectTest, DescribesASoundCheckpoint) {
  const Inspection inspection = InspectIt(true);
  EXPECT_THAT(inspection.problems, IsEmpty());
  for (const char* words :
       {"Hugging Face layout", "4 layers", "56 px in patches of 14", "2 linear layers, 64 -> 64",
        "4 heads of 16 (2 for keys and values)", "16 for each picture, id 1000", "0.4 M",
        "BF16 (96 tensors)", "weights 821.9 kB; KV cache 256 bytes a token", "1002 tokens, BOS 1",
        "template       chat_template.json, executed", "model.safetensors",
        "problems       none"}) {
    EXPECT_THAT(inspection.text, HasSubstr(words));
  }
}

TEST_F(InspectTest, SaysWhatBecomesOfPicturesOfAnotherShape) {
  EXPECT_THAT(InspectIt().text, HasSubstr("56 x 56 px, cropped at the centre"));
  std::ofstream(File("preprocessor_config.json"))
      << R"({"size": {"height": 56, "width": 56}, "do_center_crop": false})";
  EXPECT_THAT(InspectIt().text, HasSubstr("56 x 56 px, stretched to it"));
  std::ofstream(File("preprocessor_config.json")) << R"({"do_pad": true})";
  EXPECT_THAT(InspectIt().text, HasSubstr("56 x 56 px, padded to a square"));
}

TEST_F(InspectTest, SaysWhatIsWrongWithTheWeights) {
  FixtureTensors tensors = model::GoldenTensors();
  tensors.erase("multi_modal_projector.linear_1.bias");
  model::WriteTensors(File("model.safetensors"), tensors);
  const Inspection inspection = InspectIt();
  EXPECT_THAT(inspection.problems,
              ElementsAre(testing::AllOf(HasSubstr(File("model.safetensors")),
                                         HasSubstr("multi_modal_projector.linear_1.bias"),
                                         HasSubstr("missing"))));
  EXPECT_THAT(inspection.text, HasSubstr(inspection.problems[0]));
}

TEST_F(InspectTest, SaysWhenThereAreNoWeights) {
  std::filesystem::remove(File("model.safetensors"));
  EXPECT_THAT(InspectIt().problems, ElementsAre(HasSubstr("no weights")));
}

// A padding token that a fine-tune added without a row of its own is never fed.
TEST_F(InspectTest, WarnsOfATokenBeyondTheEmbedding) {
  model::EditFile(File("tokenizer_config.json"), "\"added_tokens_decoder\": {",
                  R"("added_tokens_decoder": {"1024": {"content": "[PAD]", "special": true},)");
  const Inspection inspection = InspectIt();
  EXPECT_THAT(inspection.problems, IsEmpty());
  EXPECT_THAT(inspection.text, HasSubstr("1024 rows and so none for \"[PAD]\" = 1024"));
  const absl::Status asked = Generate({.directory = dir_.path(),
                                       .images = {},
                                       .prompt = "[PAD]",
                                       .raw = true,
                                       .template_name = "",
                                       .vision_tower_dir = "",
                                       .adapter = "",
                                       .dump_stages = ""},
                                      [](std::string_view) {});
  EXPECT_EQ(asked.code(), absl::StatusCode::kInvalidArgument) << asked;
}

TEST_F(InspectTest, SaysWhenTheVocabularyIsLargerThanTheEmbedding) {
  model::EditFile(File("tokenizer.json"), "\"id\": 1001", "\"id\": 1024");
  EXPECT_THAT(InspectIt().problems,
              ElementsAre(testing::AllOf(HasSubstr(dir_.path()), HasSubstr("1024"))));
  const absl::Status status = Generate({.directory = dir_.path(),
                                        .images = {},
                                        .prompt = "Hi",
                                        .template_name = "",
                                        .vision_tower_dir = "",
                                        .adapter = "",
                                        .dump_stages = ""},
                                       [](std::string_view) {});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
}

TEST_F(InspectTest, SaysEverythingThatIsWrong) {
  std::filesystem::remove(File("tokenizer.model"));
  std::filesystem::remove(File("tokenizer.json"));
  std::filesystem::resize_file(File("model.safetensors"), 1000);
  const Inspection inspection = InspectIt();
  EXPECT_THAT(inspection.problems,
              ElementsAre(HasSubstr("model.safetensors"), HasSubstr("tokenizer.model")));
}

// Otherwise the daemon alone would say so, when it makes its KV blocks.
TEST_F(InspectTest, SaysWhenServingRefusesTheHeadSize) {
  model::EditFile(File("config.json"), "\"head_dim\": 16", "\"head_dim\": 512");
  EXPECT_THAT(InspectIt().problems,
              ElementsAre(testing::AllOf(HasSubstr(File("config.json")), HasSubstr("head_dim"),
                                         HasSubstr("to 256"), HasSubstr("512"))));
}

TEST_F(InspectTest, NamesADirectoryThatIsNoCheckpoint) {
  std::filesystem::remove(File("config.json"));
  EXPECT_THAT(InspectIt().problems, ElementsAre(HasSubstr("config.json")));
}

// What an init container asks before a pod serves what it copied.
TEST_F(InspectTest, ComparesTheFilesWithTheManifest) {
  EXPECT_THAT(InspectIt(true).text, HasSubstr("none: no manifest.json"));
  model::Manifest manifest;
  manifest.files = *model::DescribeFiles(dir_.path());
  const std::string text = model::ManifestJson(manifest);
  std::ofstream(File("manifest.json")) << text;
  const Inspection sound = InspectIt(true);
  EXPECT_THAT(sound.problems, IsEmpty());
  EXPECT_THAT(sound.text, HasSubstr(model::VersionOf(text)));
  EXPECT_THAT(sound.text, HasSubstr(absl::StrCat(manifest.files.size(), ", as the manifest says")));
  std::ofstream(File("chat_template.json"), std::ios::app) << " ";
  EXPECT_THAT(InspectIt(true).problems, ElementsAre(HasSubstr("chat_template.json")));
  EXPECT_THAT(InspectIt(false).problems, IsEmpty());
  std::ofstream(File("manifest.json")) << "{";
  EXPECT_THAT(InspectIt(false).problems, ElementsAre(HasSubstr("manifest.json")));
}

// One sentence of what it is; not a second one of what it lacks for being that.
TEST_F(InspectTest, SaysOnceWhatIsNotAWholeCheckpoint) {
  std::ofstream(File("model.safetensors")) << "version https://git-lfs.github.com/spec/v1\n";
  EXPECT_THAT(InspectIt().problems, ElementsAre(HasSubstr("git lfs pull")));
  std::filesystem::remove(File("config.json"));
  EXPECT_THAT(InspectIt().problems, ElementsAre(HasSubstr("git lfs pull")));
  std::filesystem::remove(File("model.safetensors"));
  std::ofstream(File("adapter_config.json")) << R"({"peft_type": "LORA"})";
  EXPECT_THAT(InspectIt().problems, ElementsAre(HasSubstr("adapter")));
}

}  // namespace
}  // namespace llava
