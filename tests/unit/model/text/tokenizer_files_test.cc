// Tokenizer::Load: which of a checkpoint's files says what.
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json_reader.h"
#include "boost/json/array.hpp"
#include "boost/json/serialize.hpp"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/text/tokenizer.h"
#include "model/text/tokenizer_json.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kCheckpoint = "tests/golden/data/checkpoint";

std::string ModelBytes() { return *ReadFile(kCheckpoint + "/tokenizer.model", 1 << 20); }

// A directory with the golden tokenizer.model and whatever else a test writes.
class Folder {
 public:
  Folder() { Write("tokenizer.model", ModelBytes()); }

  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(dir_.path() + "/" + name, std::ios::binary) << text;
  }
  const std::string& path() const { return dir_.path(); }
  void Remove(const std::string& name) const { std::filesystem::remove(dir_.path() + "/" + name); }

  absl::StatusOr<Tokenizer> Load(Layout layout = Layout::kHuggingFace) const {
    return Tokenizer::Load(dir_.path(), layout);
  }
  Tokenizer Loaded(Layout layout = Layout::kHuggingFace) const {
    auto tokenizer = Load(layout);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return std::move(tokenizer).value();
  }
  std::string ErrorOf() const {
    const auto tokenizer = Load();
    EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(tokenizer.status().message());
  }

 private:
  test::TempDir dir_;
};

TEST(TokenizerFilesTest, TheModelAloneHasItsControlTokens) {
  const Folder folder;
  const Tokenizer tokenizer = folder.Loaded();
  EXPECT_EQ(tokenizer.vocab_size(), 1000);
  EXPECT_EQ(tokenizer.Encode("</s>").front(), 2);
  EXPECT_EQ(tokenizer.settings().prefix, PrefixRule::kAlways);  // `legacy` is not given
  EXPECT_FALSE(tokenizer.settings().prefix_before_space);
  EXPECT_TRUE(folder.Loaded(Layout::kOriginal).settings().prefix_before_space);
}

TEST(TokenizerFilesTest, LegacyFlagWithoutTokenizerJson) {
  const Folder folder;
  folder.Write("tokenizer_config.json", R"({"legacy": false, "add_bos_token": false})");
  EXPECT_EQ(folder.Loaded().settings().prefix, PrefixRule::kFirst);
  EXPECT_FALSE(folder.Loaded().adds_bos());
  folder.Write("tokenizer_config.json", R"({"legacy": true, "add_prefix_space": false})");
  EXPECT_EQ(folder.Loaded().settings().prefix, PrefixRule::kNever);
  EXPECT_FALSE(folder.Loaded().settings().strip_first_space);
}

TEST(TokenizerFilesTest, TokenizerJsonSaysHowSegmentsBegin) {
  const Folder folder;
  folder.Write("tokenizer_config.json", R"({"legacy": true})");
  folder.Write("tokenizer.json", R"({"normalizer": null, "pre_tokenizer":
      {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": false}})");
  EXPECT_EQ(folder.Loaded().settings().prefix, PrefixRule::kFirst);
  EXPECT_FALSE(folder.Loaded().settings().prefix_before_space);
  folder.Write("tokenizer.json", R"({"normalizer": {"type": "Prepend", "prepend": "\u2581"}})");
  EXPECT_EQ(folder.Loaded().settings().prefix, PrefixRule::kAlways);
  EXPECT_TRUE(folder.Loaded().settings().prefix_before_space);
  folder.Write("tokenizer.json", R"({"normalizer": {"type": "NFKC"}})");
  EXPECT_THAT(folder.ErrorOf(),
              AllOf(HasSubstr("tokenizer.json: normalizer.type"), HasSubstr("NFKC")));
  folder.Write("tokenizer.json", R"({"pre_tokenizer": {"type": "BertPreTokenizer"}})");
  EXPECT_THAT(folder.ErrorOf(), HasSubstr("BertPreTokenizer"));
}

// The hub's older files: ids in added_tokens.json, special or not by special_tokens_map.json.
TEST(TokenizerFilesTest, AddedTokensOfOlderCheckpoints) {
  const Folder folder;
  folder.Write("added_tokens.json", R"({"<image>": 1000, "<pad>": 1001, "shout": 1002})");
  folder.Write("special_tokens_map.json", R"({"bos_token": {"content": "<s>", "lstrip": false},
      "pad_token": "<pad>", "additional_special_tokens": ["<image>"]})");
  const Tokenizer tokenizer = folder.Loaded();
  EXPECT_EQ(tokenizer.vocab_size(), 1003);
  EXPECT_THAT(tokenizer.Encode("<image>shout"), ElementsAre(1000, 1002));
  EXPECT_EQ(tokenizer.Decode(std::vector<int>{1000, 1001, 1002}), "shout");
}

TEST(TokenizerFilesTest, WritesTokenizerJson) {
  const Folder folder;
  const auto expected = *ReadJsonObject(kCheckpoint + "/tokenizer.json");
  const auto text = TokenizerJson(*Tokenizer::Load(kCheckpoint, Layout::kHuggingFace));
  ASSERT_TRUE(text.ok()) << text.status();
  const auto written = *ParseJsonObject(*text, "tokenizer.json");
  for (const auto& [key, value] : expected) {
    EXPECT_TRUE(written.at(key) == value) << key;
  }
  EXPECT_EQ(written.size(), expected.size());
  // What is written says the same as the flags did.
  for (const std::string legacy : {"true", "false"}) {
    folder.Remove("tokenizer.json");
    folder.Write("tokenizer_config.json", R"({"legacy": )" + legacy + "}");
    const Tokenizer before = folder.Loaded();
    folder.Write("tokenizer.json", *TokenizerJson(before));
    folder.Write("tokenizer_config.json", "{}");
    const Tokenizer after = folder.Loaded();
    EXPECT_EQ(after.settings().prefix, before.settings().prefix);
    EXPECT_EQ(after.settings().prefix_before_space, before.settings().prefix_before_space);
    EXPECT_EQ(after.Encode("of</s>of <s> of"), before.Encode("of</s>of <s> of"));
  }
}

TEST(TokenizerFilesTest, FaultsAreNamed) {
  const Folder folder;
  folder.Write("added_tokens.json", R"({"<image>": "x"})");
  EXPECT_THAT(folder.ErrorOf(), AllOf(HasSubstr("added_tokens.json: <image>"), HasSubstr("\"x\"")));
  folder.Write("added_tokens.json", R"({"<image>": 99999999})");
  EXPECT_THAT(folder.ErrorOf(), HasSubstr("99999999"));
  folder.Write("added_tokens.json", R"({"<image>": 1000, "<pad>": 1000})");
  EXPECT_THAT(folder.ErrorOf(), AllOf(HasSubstr("<image>"), HasSubstr("<pad>"), HasSubstr("1000")));
  folder.Write("added_tokens.json", R"({"": 1000})");
  EXPECT_THAT(folder.ErrorOf(), HasSubstr("added token 1000"));
  folder.Remove("added_tokens.json");
  folder.Write("tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "y"}}})");
  EXPECT_THAT(folder.ErrorOf(), HasSubstr("added_tokens_decoder.x"));
  folder.Remove("tokenizer_config.json");
  folder.Write("tokenizer.json", R"({"added_tokens": [{"content": "<image>"}]})");
  EXPECT_THAT(folder.ErrorOf(), HasSubstr("added_tokens[].id"));
  folder.Remove("tokenizer.json");
  folder.Write("tokenizer.model", "not a model");
  EXPECT_THAT(folder.ErrorOf(), AllOf(HasSubstr("tokenizer.model"), HasSubstr("sentencepiece")));
  folder.Write("tokenizer.model", ModelBytes().substr(0, 9000));
  EXPECT_THAT(folder.ErrorOf(), HasSubstr("sentencepiece"));
  folder.Write("tokenizer.model", "");
  EXPECT_THAT(folder.ErrorOf(), HasSubstr("sentencepiece"));
}

// What transformers 5 saves: tokenizer.json and tokenizer_config.json, no tokenizer.model.
TEST(TokenizerFilesTest, TokenizerJsonAlone) {
  const Tokenizer expected = *Tokenizer::Load(kCheckpoint, Layout::kHuggingFace);
  const Folder folder;
  folder.Remove("tokenizer.model");
  folder.Write("tokenizer.json", *ReadFile(kCheckpoint + "/tokenizer.json", 1 << 20));
  folder.Write("tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": "</s>"})");
  for (const Layout layout : {Layout::kHuggingFace, Layout::kOriginal}) {
    const Tokenizer tokenizer = folder.Loaded(layout);
    EXPECT_EQ(tokenizer.bos_id(), 1);
    EXPECT_EQ(tokenizer.eos_id(), 2);
    EXPECT_EQ(tokenizer.unk_id(), 0);
    EXPECT_TRUE(tokenizer.adds_bos());  // the post-processor
    EXPECT_EQ(tokenizer.vocab_size(), 1002);
    const std::string text = "of the <image>\n keyword</s> \u65E5";
    EXPECT_EQ(tokenizer.Encode(text), expected.Encode(text));
    EXPECT_EQ(tokenizer.Decode(tokenizer.Encode(text)), expected.Decode(expected.Encode(text)));
  }
}

// transformers drops the flags of a folder that has a tokenizer.json.
TEST(TokenizerFilesTest, ThePostProcessorCountsBeforeFlags) {
  const Folder folder;
  auto file = *ReadJsonObject(kCheckpoint + "/tokenizer.json");
  folder.Write("tokenizer.json", boost::json::serialize(file));
  for (const char* flags : {R"({"add_bos_token": false})", R"({"add_eos_token": false})", "{}"}) {
    folder.Write("tokenizer_config.json", flags);
    EXPECT_TRUE(folder.Loaded().adds_bos()) << flags;
  }
  folder.Write("tokenizer_config.json", R"({"bos_token": "</s>"})");
  EXPECT_THAT(folder.ErrorOf(), AllOf(HasSubstr("post_processor"), HasSubstr("\"<s>\"")));
  file["post_processor"] = nullptr;
  folder.Write("tokenizer.json", boost::json::serialize(file));
  folder.Write("tokenizer_config.json", R"({"add_bos_token": true})");
  EXPECT_FALSE(folder.Loaded().adds_bos());
}

// A file that does not list them among its added tokens.
TEST(TokenizerFilesTest, PiecesThatTheConfigurationNamesAreSpecial) {
  const Folder folder;
  auto file = *ReadJsonObject(kCheckpoint + "/tokenizer.json");
  file["added_tokens"] = boost::json::array();
  folder.Write("tokenizer.json", boost::json::serialize(file));
  folder.Write("tokenizer_config.json",
               R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": "<pad>"})");
  const Tokenizer tokenizer = folder.Loaded();
  EXPECT_THAT(tokenizer.Encode("<s></s>"), ElementsAre(1, 2));
  EXPECT_EQ(tokenizer.Decode(std::vector<int>{1, 2}), "");
}

TEST(TokenizerFilesTest, NoVocabularyAtAll) {
  const Folder folder;
  folder.Remove("tokenizer.model");
  folder.Write("tokenizer.json", "{}");
  const auto tokenizer = folder.Load();
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(tokenizer.status().message()),
              AllOf(HasSubstr("tokenizer.model"), HasSubstr("found neither")));
}

// A link in a circle is no absent file.
TEST(TokenizerFilesTest, FilesThatCannotBeReadAreErrors) {
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                           "added_tokens.json"}) {
    const Folder folder;
    std::filesystem::create_symlink(name, folder.path() + "/" + name);
    const absl::Status status = folder.Load().status();
    EXPECT_FALSE(status.ok()) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
}

// The slow tokenizer of the original code knows nothing of tokenizer.json but its added tokens, and
// none that is found in normalized text.
TEST(TokenizerFilesTest, BesideAModelTheOriginalLayoutReadsAddedTokensOnly) {
  const Folder folder;
  auto file = *ReadJsonObject(kCheckpoint + "/tokenizer.json");
  file["added_tokens"] = boost::json::array{
      boost::json::object{{"id", 0}, {"content", "<unk>"}, {"special", true}},
      boost::json::object{{"id", 1}, {"content", "<s>"}, {"special", true}},
      boost::json::object{{"id", 2}, {"content", "</s>"}, {"special", true}},
      boost::json::object{{"id", 1000}, {"content", "<new>"}, {"normalized", true}}};
  folder.Write("tokenizer.json", boost::json::serialize(file));
  folder.Write("tokenizer_config.json", R"({"add_bos_token": true})");
  const Tokenizer fast = folder.Loaded(Layout::kHuggingFace);
  const Tokenizer slow = folder.Loaded(Layout::kOriginal);
  for (const Tokenizer* tokenizer : {&fast, &slow}) {
    EXPECT_THAT(tokenizer->Encode("<new>"), testing::Contains(1000));
  }
  const auto is_normalized = [](const Tokenizer& tokenizer) {
    for (const AddedToken& token : tokenizer.added_tokens()) {
      if (token.content == "<new>") return token.normalized;
    }
    return false;
  };
  EXPECT_TRUE(is_normalized(fast));
  EXPECT_FALSE(is_normalized(slow));
}

TEST(TokenizerFilesTest, TheConfigurationCountsBeforeTheSpecialTokensMap) {
  const Folder folder;
  folder.Write("special_tokens_map.json", R"({"bos_token": "</s>", "eos_token": "<s>"})");
  EXPECT_EQ(folder.Loaded().bos_id(), 2);
  EXPECT_EQ(folder.Loaded().eos_id(), 1);
  folder.Write("tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": "</s>"})");
  EXPECT_EQ(folder.Loaded().bos_id(), 1);
  EXPECT_EQ(folder.Loaded().eos_id(), 2);
}

TEST(TokenizerFilesTest, OneTokenInTwoFilesIsOneAndTwoIdsOfOneTextAreAFault) {
  const Folder folder;
  folder.Write("tokenizer_config.json",
               R"({"added_tokens_decoder": {"1000": {"content": "<image>", "special": true}}})");
  folder.Write("added_tokens.json", R"({"<image>": 1000})");
  EXPECT_EQ(folder.Loaded().Decode(std::vector<int>{1000}), "");  // as the first file says
  folder.Write("added_tokens.json", R"({"<image>": 1001})");
  EXPECT_THAT(folder.ErrorOf(), HasSubstr("\"<image>\" = 1001 clashes with"));
}

TEST(TokenizerFilesTest, BosIsAddedUnlessAFileSaysOtherwise) {
  const Folder folder;
  EXPECT_TRUE(folder.Loaded().adds_bos());
  folder.Write("tokenizer_config.json", R"({"add_eos_token": true})");
  EXPECT_TRUE(folder.Loaded().adds_bos());
  folder.Write("tokenizer_config.json", R"({"add_bos_token": false})");
  EXPECT_FALSE(folder.Loaded().adds_bos());
}

}  // namespace
}  // namespace llava::model
