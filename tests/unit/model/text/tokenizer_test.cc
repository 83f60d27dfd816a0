#include "model/text/tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json_reader.h"
#include "base/rng.h"
#include "boost/json/serialize.hpp"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
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

TEST(TokenizerTest, KnowsItsSpecialTokens) {
  const Tokenizer tokenizer = *Tokenizer::Load(kCheckpoint, Layout::kHuggingFace);
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  EXPECT_EQ(tokenizer.unk_id(), 0);
  EXPECT_TRUE(tokenizer.adds_bos());
  EXPECT_EQ(tokenizer.IdOf("<image>"), 1000);
  EXPECT_EQ(tokenizer.IdOf("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer.vocab_size(), 1002);
  EXPECT_EQ(tokenizer.TokenText(1001), "<pad>");
  EXPECT_EQ(tokenizer.TokenText(13), "<0x0A>");
  EXPECT_EQ(tokenizer.TokenText(5000), "");
}

TEST(TokenizerTest, VocabularyMustFitTheEmbedding) {
  const Tokenizer tokenizer = *Tokenizer::Load(kCheckpoint, Layout::kHuggingFace);
  EXPECT_TRUE(tokenizer.CheckFits(1002).ok());
  EXPECT_TRUE(tokenizer.CheckFits(1024).ok());
  EXPECT_TRUE(tokenizer.CheckFits(1000).ok());
  const absl::Status status = tokenizer.CheckFits(999);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("999 rows"), HasSubstr("1000")));
}

TEST(TokenizerTest, AddedTokensBeyondTheEmbeddingAreAWarning) {
  const Tokenizer tokenizer = *Tokenizer::Load(kCheckpoint, Layout::kHuggingFace);
  EXPECT_EQ(tokenizer.BeyondEmbedding(1002), "");
  EXPECT_THAT(tokenizer.BeyondEmbedding(1001),
              AllOf(HasSubstr("1001 rows"), HasSubstr("\"<pad>\" = 1001")));
}

TEST(TokenizerTest, TheModelAloneHasItsControlTokens) {
  const Folder folder;
  const Tokenizer tokenizer = folder.Loaded();
  EXPECT_EQ(tokenizer.vocab_size(), 1000);
  EXPECT_EQ(tokenizer.Encode("</s>").front(), 2);
  EXPECT_EQ(tokenizer.settings().prefix, PrefixRule::kAlways);  // `legacy` is not given
  EXPECT_FALSE(tokenizer.settings().prefix_before_space);
  EXPECT_TRUE(folder.Loaded(Layout::kOriginal).settings().prefix_before_space);
}

TEST(TokenizerTest, LegacyFlagWithoutTokenizerJson) {
  const Folder folder;
  folder.Write("tokenizer_config.json", R"({"legacy": false, "add_bos_token": false})");
  EXPECT_EQ(folder.Loaded().settings().prefix, PrefixRule::kFirst);
  EXPECT_FALSE(folder.Loaded().adds_bos());
  folder.Write("tokenizer_config.json", R"({"legacy": true, "add_prefix_space": false})");
  EXPECT_EQ(folder.Loaded().settings().prefix, PrefixRule::kNever);
  EXPECT_FALSE(folder.Loaded().settings().strip_first_space);
}

TEST(TokenizerTest, TokenizerJsonSaysHowSegmentsBegin) {
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
  folder.Write("tokenizer.json", R"({"pre_tokenizer": {"type": "ByteLevel"}})");
  EXPECT_THAT(folder.ErrorOf(), HasSubstr("ByteLevel"));
}

// The hub's older files: ids in added_tokens.json, special or not by special_tokens_map.json.
TEST(TokenizerTest, AddedTokensOfOlderCheckpoints) {
  const Folder folder;
  folder.Write("added_tokens.json", R"({"<image>": 1000, "<pad>": 1001, "shout": 1002})");
  folder.Write("special_tokens_map.json", R"({"bos_token": {"content": "<s>", "lstrip": false},
      "pad_token": "<pad>", "additional_special_tokens": ["<image>"]})");
  const Tokenizer tokenizer = folder.Loaded();
  EXPECT_EQ(tokenizer.vocab_size(), 1003);
  EXPECT_THAT(tokenizer.Encode("<image>shout"), ElementsAre(1000, 1002));
  EXPECT_EQ(tokenizer.Decode(std::vector<int>{1000, 1001, 1002}), "shout");
}

TEST(TokenizerTest, AddedTokensTakeWhiteSpaceAlong) {
  const auto tokenizer = *Tokenizer::FromModel(ModelBytes(),
                                               {{.content = "<l>", .id = 1000, .lstrip = true},
                                                {.content = "<r>", .id = 1001, .rstrip = true},
                                                {.content = "<l><r>", .id = 1002}},
                                               {});
  EXPECT_EQ(tokenizer.Encode("of \n<l>of"), tokenizer.Encode("of<l>of"));
  EXPECT_EQ(tokenizer.Encode("of<r> \n of"), tokenizer.Encode("of<r>of"));
  EXPECT_NE(tokenizer.Encode("of<l> of"), tokenizer.Encode("of<l>of"));
  EXPECT_THAT(tokenizer.Encode("<l><r>"), ElementsAre(1002));  // the longest counts
  EXPECT_THAT(tokenizer.Encode("<r>  <l>"), ElementsAre(1001, 1000));
}

TEST(TokenizerTest, WhatAUserTypesStaysText) {
  const Tokenizer tokenizer = *Tokenizer::Load(kCheckpoint, Layout::kHuggingFace);
  for (const std::string text : {"</s>", "<image>", "a<s>b", "<pad><unk>"}) {
    const std::vector<int> ids = tokenizer.Encode(text, false);
    EXPECT_THAT(ids, testing::Each(testing::AllOf(testing::Gt(2), testing::Lt(1000)))) << text;
    EXPECT_EQ(tokenizer.Decode(ids), text);
  }
  // Also when it is put together from what the user types and what the template says.
  const std::vector<TextPart> parts = {{"<im", true}, {"age></", false}, {"s>", true}};
  EXPECT_THAT(tokenizer.Encode(parts), testing::Each(testing::Gt(2)));
}

// A serialized ModelProto with one more piece, of type USER_DEFINED.
std::string WithUserDefined(const std::string& piece) {
  const std::string entry = "\x0A" + std::string(1, static_cast<char>(piece.size())) + piece +
                            std::string("\x15\0\0\0\0\x18\x04", 7);
  return ModelBytes() + "\x0A" + std::string(1, static_cast<char>(entry.size())) + entry;
}

// The library throws there.
TEST(TokenizerTest, APieceThatBeginsWithAZeroByteIsRefused) {
  constexpr char kModel[] = "\x0a\x0e\x0a\x05<unk>\x15\0\0\0\0\x18\x02\x0a\x0a\x0a\x08\0piece12";
  const auto tokenizer = Tokenizer::FromModel({kModel, sizeof(kModel) - 1}, {}, {});
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument) << tokenizer.status();
}

TEST(TokenizerTest, UserDefinedPiecesAreControlToo) {
  const auto tokenizer = *Tokenizer::FromModel(WithUserDefined("<image>"), {}, {});
  EXPECT_EQ(tokenizer.IdOf("<image>"), 1000);
  EXPECT_THAT(tokenizer.Encode("of<image>of"), testing::Contains(1000));
  for (const std::string text : {"<image>", "of<image>of", "\xC3\xA9<image><image>"}) {
    const std::vector<int> typed = tokenizer.Encode(text, false);
    EXPECT_THAT(typed, testing::Not(testing::Contains(1000))) << text;
    EXPECT_EQ(tokenizer.Decode(typed), text);
  }
  const std::vector<TextPart> parts = {{"<image><im", true}, {"age>", false}};
  const std::vector<int> ids = tokenizer.Encode(parts);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 1000), 1);
}

TEST(TokenizerTest, WritesTokenizerJson) {
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

TEST(TokenizerTest, CuttingATextIntoPartsDoesNotChangeItsIds) {
  const Tokenizer tokenizer = *Tokenizer::Load(kCheckpoint, Layout::kHuggingFace);
  const std::string text = "USER: the </s>statement\n<image> of\xC3\xA9 keyword";
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Rng rng(seed);
    std::vector<TextPart> parts;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t take = 1 + rng.Below(9);
      // A character must stay whole: half of one is repaired.
      const bool splits = at + take < text.size() && (text[at + take] & 0xC0) == 0x80;
      parts.push_back({text.substr(at, take + (splits ? 1 : 0)), true});
      at += take + (splits ? 1 : 0);
    }
    EXPECT_EQ(tokenizer.Encode(parts), tokenizer.Encode(text)) << "seed " << seed;
  }
}

TEST(TokenizerTest, InvalidUtf8IsRepaired) {
  const Tokenizer tokenizer = *Tokenizer::Load(kCheckpoint, Layout::kHuggingFace);
  EXPECT_EQ(tokenizer.Encode("a\xFF\xC3"), tokenizer.Encode("a\uFFFD\uFFFD"));
}

TEST(TokenizerTest, FaultsAreNamed) {
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
TEST(TokenizerTest, TokenizerJsonAlone) {
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

TEST(TokenizerTest, AFlagCountsBeforeThePostProcessor) {
  const Folder folder;
  folder.Write("tokenizer.json", *ReadFile(kCheckpoint + "/tokenizer.json", 1 << 20));
  folder.Write("tokenizer_config.json", R"({"add_bos_token": false})");
  EXPECT_FALSE(folder.Loaded().adds_bos());
  folder.Write("tokenizer_config.json", R"({"add_eos_token": false})");  // as in transformers
  EXPECT_FALSE(folder.Loaded().adds_bos());
  folder.Write("tokenizer_config.json", R"({"bos_token": "</s>"})");
  EXPECT_THAT(folder.ErrorOf(), AllOf(HasSubstr("post_processor"), HasSubstr("\"<s>\"")));
}

// A file that does not list them among its added tokens.
TEST(TokenizerTest, PiecesThatTheConfigurationNamesAreSpecial) {
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

TEST(TokenizerTest, NoVocabularyAtAll) {
  const Folder folder;
  folder.Remove("tokenizer.model");
  folder.Write("tokenizer.json", "{}");
  const auto tokenizer = folder.Load();
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(tokenizer.status().message()),
              AllOf(HasSubstr("tokenizer.model"), HasSubstr("found neither")));
}

// A link in a circle is no absent file.
TEST(TokenizerTest, FilesThatCannotBeReadAreErrors) {
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                           "added_tokens.json"}) {
    const Folder folder;
    std::filesystem::create_symlink(name, folder.path() + "/" + name);
    const absl::Status status = folder.Load().status();
    EXPECT_FALSE(status.ok()) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
}

}  // namespace
}  // namespace llava::model
