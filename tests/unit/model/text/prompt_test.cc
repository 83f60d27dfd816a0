#include "model/text/prompt.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/layouts.h"

namespace llava::model {
namespace {

using testing::HasSubstr;

const std::string kCheckpoint = "tests/golden/data/checkpoint";

class PromptTest : public testing::Test {
 protected:
  PromptTest()
      : config_(*ReadConfig(kCheckpoint)),
        tokenizer_(*Tokenizer::Load(kCheckpoint, Layout::kHuggingFace)) {}

  PromptTokens Raw(const std::string& text, int images) const {
    auto prompt = BuildRawPrompt(text, tokenizer_, config_, LayoutsOf(images));
    EXPECT_TRUE(prompt.ok()) << prompt.status();
    return prompt.ok() ? *std::move(prompt) : PromptTokens();
  }
  std::vector<ImageLayout> LayoutsOf(int images) const {
    return Layouts(config_, static_cast<std::size_t>(images));
  }
  std::vector<int> Ids(const std::string& text) const { return tokenizer_.Encode(text); }

  LlavaConfig config_;  // 16 tokens an image, 512 positions
  Tokenizer tokenizer_;
};

std::vector<int> operator+(std::vector<int> a, const std::vector<int>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST_F(PromptTest, ImagesAnywhere) {
  const std::vector<int> image(16, 1000);
  const std::vector<int> bos = {1};
  EXPECT_EQ(Raw("<image>", 1).ids, bos + image);
  EXPECT_EQ(Raw("<image><image>", 2).ids, bos + image + image);
  const PromptTokens prompt = Raw("of<image>the<image>", 2);
  EXPECT_EQ(prompt.ids, bos + Ids("of") + image + Ids("the") + image);
  EXPECT_EQ(prompt.image_spans.size(), 2u);
  const int second = 1 + 16 + static_cast<int>((Ids("of") + Ids("the")).size());
  EXPECT_EQ(prompt.image_spans[1], (ImageSpan{second, 16, 1}));
  EXPECT_EQ(Raw("", 0).ids, bos);
}

TEST_F(PromptTest, EveryImageHasTheTokensOfItsLayout) {
  const std::vector<ImageLayout> layouts = {{.tiles = 1, .tokens = 3}, {.tiles = 2, .tokens = 5}};
  const std::vector<PromptPart> parts = {ImagePart{1}, TextPart{"of", true}, ImagePart{0}};
  const auto prompt = BuildPrompt(parts, tokenizer_, config_, layouts);
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(prompt->ids, std::vector<int>{1} + std::vector<int>(5, 1000) + Ids("of") +
                             std::vector<int>(3, 1000));
  const int second = 6 + static_cast<int>(Ids("of").size());
  EXPECT_THAT(prompt->image_spans,
              testing::ElementsAre(ImageSpan{1, 5, 1}, ImageSpan{second, 3, 0}));
}

TEST_F(PromptTest, BosExactlyOnce) {
  for (const std::string text : {"of the", "<s>of the", "<s> of the"}) {
    const std::vector<int> ids = Raw(text, 0).ids;
    EXPECT_EQ(ids[0], 1);
    EXPECT_EQ(std::count(ids.begin(), ids.end(), 1), 1) << text;
  }
}

// tokenizer_image_token of the original code: the text after an image begins anew.
TEST_F(PromptTest, OriginalLayoutTokenizesEveryTextOnItsOwn) {
  config_.layout = Layout::kOriginal;
  config_.image_token_id = kOriginalImageTokenId;
  TokenizerSettings settings = tokenizer_.settings();
  settings.prefix = PrefixRule::kFirst;
  settings.marks_in_normalizer = false;
  const std::string model = *ReadFile(kCheckpoint + "/tokenizer.model", 1 << 20);
  tokenizer_ = *Tokenizer::FromModel(model, tokenizer_.added_tokens(), settings);
  const std::vector<int> image(16, kOriginalImageTokenId);
  const std::vector<int> ids = Raw("of<image>\nthe", 1).ids;
  EXPECT_EQ(ids, std::vector<int>{1} + Ids("of") + image + Ids("\nthe"));
  EXPECT_EQ(Ids("\nthe")[0], *tokenizer_.IdOf("\xE2\x96\x81"));
  // In one pass, only the start of the whole text has the mark.
  config_.layout = Layout::kHuggingFace;
  const std::vector<TextPart> parts = {{"\nthe"}};
  EXPECT_EQ(Raw("of<image>\nthe", 1).ids,
            std::vector<int>{1} + Ids("of") + image + tokenizer_.Encode(parts, false));
  EXPECT_NE(tokenizer_.Encode(parts, false), Ids("\nthe"));
}

// The same ids in one pass over the prompt.
TEST_F(PromptTest, EveryTextBeginsAnewWhereTheTokenizerSaysSo) {
  const std::string model = *ReadFile(kCheckpoint + "/tokenizer.model", 1 << 20);
  std::vector<AddedToken> added = tokenizer_.added_tokens();
  TokenizerSettings settings = tokenizer_.settings();
  settings.prefix = PrefixRule::kFirst;
  settings.marks_in_normalizer = false;
  const Tokenizer slow = *Tokenizer::FromModel(model, added, settings);
  for (AddedToken& token : added) token.normalized = token.id < 1000;
  settings.marks_in_normalizer = settings.spaces_in_normalizer = true;
  tokenizer_ = *Tokenizer::FromModel(model, added, settings);
  EXPECT_EQ(Raw("of<image>\nthe</s>of", 1).ids, std::vector<int>{1} + slow.Encode("of") +
                                                    std::vector<int>(16, 1000) +
                                                    slow.Encode("\nthe</s>of"));
  for (const std::string text : {"</s>of", "of", " of</s> the", "<pad>of"}) {
    const bool mark = text.starts_with("<pad>");  // <pad> is not `normalized`
    const auto expected = mark ? std::vector<int>{1001} + slow.Encode("of") : slow.Encode(text);
    EXPECT_EQ(Ids(text), expected) << text;
  }
  const std::vector<TextPart> parts = {{"of"}}, typed = {{"</s>of", false}};
  EXPECT_EQ(tokenizer_.Encode(parts, false), slow.Encode(parts, false));
  EXPECT_EQ(tokenizer_.Encode(typed), slow.Encode(typed));
}

TEST_F(PromptTest, ImageStartAndEndOfOriginalModels) {
  config_.image_start_end = true;
  EXPECT_THAT(
      std::string(BuildRawPrompt("x", tokenizer_, config_, LayoutsOf(0)).status().message()),
      HasSubstr("<im_start>"));
  std::vector<AddedToken> added = tokenizer_.added_tokens();
  added.push_back({.content = "<im_start>", .id = 1002});
  added.push_back({.content = "<im_end>", .id = 1003});
  const std::string model = *ReadFile(kCheckpoint + "/tokenizer.model", 1 << 20);
  tokenizer_ = *Tokenizer::FromModel(model, added, tokenizer_.settings());
  EXPECT_EQ(Raw("<image>", 1).ids,
            std::vector<int>({1, 1002}) + std::vector<int>(16, 1000) + std::vector<int>{1003});
}

TEST_F(PromptTest, NumbersOfImagesMustAgree) {
  for (const auto& [text, images] : std::vector<std::pair<std::string, int>>{
           {"<image>", 0}, {"none", 1}, {"<image>", 2}, {"<image><image>", 1}}) {
    const auto prompt = BuildRawPrompt(text, tokenizer_, config_, LayoutsOf(images));
    EXPECT_EQ(prompt.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(prompt.status().message()), HasSubstr("images: expected"));
  }
  const std::vector<PromptPart> twice = {ImagePart{0}, ImagePart{0}};
  EXPECT_FALSE(BuildPrompt(twice, tokenizer_, config_, LayoutsOf(2)).ok());
  const std::vector<PromptPart> outside = {ImagePart{-1}, ImagePart{1}};
  EXPECT_FALSE(BuildPrompt(outside, tokenizer_, config_, LayoutsOf(2)).ok());
}

TEST_F(PromptTest, APromptNeedsRoomForAnAnswer) {
  std::string text = "a";
  while (Ids(text).size() < 510) text += "\n";
  ASSERT_EQ(Raw(text, 0).ids.size(), 511u);
  const auto full = BuildRawPrompt(text + "\n", tokenizer_, config_, LayoutsOf(0));
  EXPECT_EQ(full.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(full.status().message()), HasSubstr("fewer than 512 tokens"));
  EXPECT_THAT(
      std::string(BuildRawPrompt(std::string(1 << 20, 'x'), tokenizer_, config_, LayoutsOf(0))
                      .status()
                      .message()),
      HasSubstr("found at least"));
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "<image>";
  EXPECT_THAT(
      std::string(BuildRawPrompt(many, tokenizer_, config_, LayoutsOf(1000)).status().message()),
      HasSubstr("found at least 16"));
}

TEST_F(PromptTest, TypedMarksAreNotImages) {
  const ChatTemplate chat_template = *ChatTemplate::ByName("vicuna_v1");
  const std::vector<ChatMessage> messages = {
      {Role::kUser, {ImagePart{0}, std::string("What does <image></s> mean?")}}};
  const auto prompt = BuildPrompt(messages, chat_template, tokenizer_, config_, LayoutsOf(1));
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(std::count(prompt->ids.begin(), prompt->ids.end(), 1000), 16);
  EXPECT_EQ(std::count(prompt->ids.begin(), prompt->ids.end(), 2), 0);
  EXPECT_THAT(tokenizer_.Decode(prompt->ids), HasSubstr("What does <image></s> mean?"));
}

}  // namespace
}  // namespace llava::model
