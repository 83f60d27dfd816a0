#include "training/data/train_tokenizer.h"

#include <fstream>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/text/tokenizer.h"
#include "tests/support/temp_dir.h"
#include "training/data/scenes/write.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

TEST(TrainTokenizerTest, TrainsWhatTheModelLoadsAndAnyTextComesBack) {
  test::TempDir dir;
  ASSERT_TRUE(scenes::WriteScenes({.count = 60, .seed = 2}, dir.path()).ok());
  const TokenizerOptions options{.corpora = {dir.path() + "/corpus.txt"}, .vocabulary = 500};
  ASSERT_TRUE(TrainTokenizer(options, dir.path() + "/a").ok());
  ASSERT_TRUE(TrainTokenizer(options, dir.path() + "/b").ok());
  EXPECT_EQ(ReadFile(dir.path() + "/a/tokenizer.model"),
            ReadFile(dir.path() + "/b/tokenizer.model"));

  const auto tokenizer = model::Tokenizer::Load(dir.path() + "/a", model::Layout::kHuggingFace);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ(tokenizer->vocab_size(), 502);
  EXPECT_EQ(tokenizer->IdOf("<image>"), 500);
  EXPECT_EQ(tokenizer->IdOf("<pad>"), 501);
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  for (const char* text :
       {"What is left of the red circle?", "Grüße, 世界 🙂\n<tag>", "a  two  "}) {
    EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text)), text);
  }
  EXPECT_LT(tokenizer->Encode("There is a big red circle at the top left.").size(), 14u);
}

TEST(TrainTokenizerTest, NamesWhatIsWrong) {
  test::TempDir dir;
  EXPECT_EQ(TrainTokenizer({.corpora = {dir.path() + "/none"}}, dir.path()).code(),
            absl::StatusCode::kNotFound);
  const std::ofstream empty(dir.path() + "/empty");
  EXPECT_THAT(TrainTokenizer({.corpora = {dir.path() + "/empty"}}, dir.path()).message(),
              HasSubstr("no line"));
  std::ofstream(dir.path() + "/small") << "one line\n";
  const absl::Status small =
      TrainTokenizer({.corpora = {dir.path() + "/small"}, .vocabulary = 9000}, dir.path());
  EXPECT_EQ(small.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(small.message(), HasSubstr("9000 pieces from 1 lines"));
}

}  // namespace
}  // namespace llava::training
