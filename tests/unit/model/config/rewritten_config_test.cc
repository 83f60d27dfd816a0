#include "model/config/rewritten_config.h"

#include <fstream>
#include <string>

#include "base/json_reader.h"
#include "boost/json/serialize.hpp"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

std::string FolderOf(const std::string& family) {
  return "tests/golden/data/families/" + family + "/checkpoint";
}

boost::json::object Read(const std::string& folder, const std::string& file = "/config.json") {
  return *ReadJsonObject(folder + file);
}

// What transformers has saved and this software does not read stays in the file.
TEST(RewrittenConfigTest, KeepsWhatItsSourceSaysBeyond) {
  for (const char* family : {"llava_mistral", "llava_qwen2", "vipllava", "next_mistral",
                             "next_llama_yarn", "onevision"}) {
    const std::string source = FolderOf(family);
    LlavaConfig config = *ReadConfig(source);
    config.dtype = "float32";
    config.name = "another";
    const test::TempDir dir;
    ASSERT_TRUE(RewriteConfig(config, source, dir.path()).ok());
    boost::json::object expected = Read(source);
    expected["dtype"] = "float32";
    EXPECT_EQ(Read(dir.path()), expected) << family;
    EXPECT_EQ(Read(dir.path(), "/generation_config.json"), Read(source, "/generation_config.json"));
  }
}

TEST(RewrittenConfigTest, SaysHowTheWeightsAreStoredWhateverItsSourceSays) {
  const test::TempDir source;
  boost::json::object json = Read(FolderOf("onevision"));
  json.erase("dtype");
  json["text_config"].as_object()["torch_dtype"] = "float16";
  std::ofstream(source.path() + "/config.json") << boost::json::serialize(json);
  LlavaConfig config = *ReadConfig(source.path());
  config.dtype = "bfloat16";
  config.text.tie_embeddings = false;
  config.quantization = Quantization::kInt8;
  const test::TempDir dir;
  ASSERT_TRUE(RewriteConfig(config, source.path(), dir.path()).ok());
  const boost::json::object written = Read(dir.path());
  EXPECT_EQ(written.at("torch_dtype"), "bfloat16");
  EXPECT_EQ(written.at("text_config").at("torch_dtype"), "bfloat16");
  EXPECT_EQ(written.at("tie_word_embeddings"), false);
  EXPECT_EQ(written.at("text_config").at("tie_word_embeddings"), false);
  EXPECT_EQ(written.at("video_token_index"), json.at("video_token_index"));
  LlavaConfig read = *ReadConfig(dir.path());
  read.name = config.name;
  EXPECT_EQ(read, config);
}

// What is written of a checkpoint that AWQ or GPTQ quantised are numbers, or codes of our own.
TEST(RewrittenConfigTest, LeavesOutHowAnotherProgramQuantised) {
  for (const bool inner : {false, true}) {
    const test::TempDir source, dir;
    boost::json::object json = Read(FolderOf("onevision"));
    boost::json::object& place = inner ? json["text_config"].as_object() : json;
    place["quantization_config"] = {{"quant_method", "awq"}, {"bits", 4}};
    std::ofstream(source.path() + "/config.json") << boost::json::serialize(json);
    const LlavaConfig config = *ReadConfig(source.path());
    ASSERT_TRUE(config.foreign_codes);
    ASSERT_TRUE(RewriteConfig(config, source.path(), dir.path()).ok());
    EXPECT_FALSE(ReadConfig(dir.path())->foreign_codes);
    EXPECT_TRUE(Read(dir.path()).contains("video_token_index"));
  }
}

// A source that is another model, or none, says nothing of this one.
TEST(RewrittenConfigTest, KeepsNothingOfAnotherModel) {
  LlavaConfig config = *ReadConfig(FolderOf("onevision"));
  config.text.max_positions /= 2;
  const test::TempDir dir;
  for (const std::string& source : {FolderOf("onevision"), dir.path() + "/none"}) {
    ASSERT_TRUE(RewriteConfig(config, source, dir.path()).ok());
    EXPECT_FALSE(Read(dir.path()).contains("video_token_index"));
    EXPECT_EQ(ReadConfig(dir.path())->text, config.text);
  }
}

}  // namespace
}  // namespace llava::model
