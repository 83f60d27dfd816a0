#include "model/text/conversation_labels.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/layouts.h"

namespace llava::model {
namespace {

const std::string kCheckpoint = "tests/golden/data/checkpoint";

class ConversationLabelsTest : public testing::Test {
 protected:
  ConversationLabelsTest()
      : config_(*ReadConfig(kCheckpoint)),
        tokenizer_(*Tokenizer::Load(kCheckpoint, Layout::kHuggingFace)) {}

  LabelledTokens Label(const std::vector<TrainingTurn>& turns, const std::string& chat_template,
                       std::span<const ImageLayout> images) const {
    auto tokens =
        LabelConversation(turns, *ChatTemplate::ByName(chat_template), tokenizer_, config_, images);
    EXPECT_TRUE(tokens.ok()) << tokens.status();
    return tokens.ok() ? *std::move(tokens) : LabelledTokens();
  }

  absl::StatusCode CodeOf(const std::vector<TrainingTurn>& turns, const std::string& chat_template,
                          std::size_t images) const {
    return LabelConversation(turns, *ChatTemplate::ByName(chat_template), tokenizer_, config_,
                             Layouts(config_, images))
        .status()
        .code();
  }

  std::vector<int> Ids(const std::string& text) const { return tokenizer_.Encode(text); }

  LlavaConfig config_;  // 16 tokens an image, 512 positions
  Tokenizer tokenizer_;
};

std::vector<int> operator+(std::vector<int> a, const std::vector<int>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::vector<int> Supervised(const LabelledTokens& tokens) {
  std::vector<int> supervised;
  for (const int label : tokens.labels) {
    if (label != kIgnoreLabel) supervised.push_back(label);
  }
  return supervised;
}

TEST_F(ConversationLabelsTest, RefusesWhatIsNoConversation) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(CodeOf({}, "vicuna_v1", 0), invalid);
  EXPECT_EQ(CodeOf({{false, "x"}}, "vicuna_v1", 0), invalid);
  EXPECT_EQ(CodeOf({{true, "x"}, {false, ""}}, "vicuna_v1", 0), invalid);
  EXPECT_EQ(CodeOf({{true, "x"}, {false, "y"}}, "vicuna_v1", 1), invalid);
  EXPECT_EQ(CodeOf({{true, "x"}, {false, "y"}}, "hf", 0), invalid);
  EXPECT_EQ(CodeOf({{true, "x"}, {false, "y"}}, "plain", 0), invalid);
  EXPECT_EQ(CodeOf({{true, "x"}, {false, "y"}}, "vicuna_v1", 0), absl::StatusCode::kOk);
}

// An added token that a fine-tune left without a row of the embedding.
TEST_F(ConversationLabelsTest, ATokenBeyondTheEmbeddingIsAnError) {
  config_.text.vocab_size = 1001;
  EXPECT_EQ(CodeOf({{true, "of"}, {false, "the"}}, "vicuna_v1", 0), absl::StatusCode::kOk);
  EXPECT_EQ(CodeOf({{true, "of"}, {false, "the<pad>"}}, "vicuna_v1", 0),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ConversationLabelsTest, SeveralImagesOfOneTurnAreLinesInFront) {
  const std::vector<TrainingTurn> turns = {{true, "a <image> b <image>"}, {false, "of the"}};
  const LabelledTokens tokens = Label(turns, "vicuna_v1", Layouts(config_, 2));
  EXPECT_FALSE(tokens.mismatch);
  const ChatTemplate v1 = *ChatTemplate::ByName("vicuna_v1");
  const auto prompt =
      BuildRawPrompt(v1.default_system() + " USER: <image>\n<image>\na  b ASSISTANT: of the</s>",
                     tokenizer_, config_, Layouts(config_, 2));
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(tokens.ids, prompt->ids);
  EXPECT_EQ(Supervised(tokens), Ids("of the") + std::vector<int>{2});
}

// The tokens of a later round's image are counted by its own layout.
TEST_F(ConversationLabelsTest, ImagesOfLaterRoundsHaveTheirOwnLayouts) {
  const std::vector<TrainingTurn> turns = {
      {true, "<image>\nthe"}, {false, "of the"}, {true, "<image>\nof"}, {false, "the of"}};
  const std::vector<ImageLayout> layouts = {{.tiles = 1, .tokens = 3}, {.tiles = 1, .tokens = 9}};
  const LabelledTokens tokens = Label(turns, "vicuna_v1", layouts);
  EXPECT_FALSE(tokens.mismatch);
  ASSERT_EQ(tokens.image_spans.size(), 2u);
  EXPECT_EQ(tokens.image_spans[0].count, 3);
  EXPECT_EQ(tokens.image_spans[1].count, 9);
  EXPECT_EQ(Supervised(tokens),
            Ids("of the") + std::vector<int>{2} + Ids("the of") + std::vector<int>{2});
}

TEST_F(ConversationLabelsTest, ACaptionIsSupervisedToItsEnd) {
  const LabelledTokens tokens =
      Label({{true, "Describe it. <image>"}, {false, "of the"}}, "plain", Layouts(config_, 1));
  EXPECT_EQ(Supervised(tokens), Ids("of the\n"));
  EXPECT_EQ(tokens.ids.size(), 1 + 16 + Ids("of the\n").size());
}

// Of a family whose turns are tokens of their own.
class ChatmlLabelsTest : public testing::Test {
 protected:
  absl::StatusOr<LabelledTokens> Label(const std::vector<TrainingTurn>& turns,
                                       std::size_t images) const {
    return LabelConversation(turns, *ChatTemplate::ByName("chatml"), tokenizer_, config_,
                             Layouts(config_, images));
  }

  const std::string folder_ = "tests/golden/data/families/llava_qwen2/checkpoint";
  const LlavaConfig config_ = *ReadConfig(folder_);
  const Tokenizer tokenizer_ = *Tokenizer::Load(folder_, Layout::kHuggingFace);
};

TEST_F(ChatmlLabelsTest, AnswersAndTheEndsOfTheirTurnsAreSupervised) {
  const auto tokens = Label(
      {{true, "<image>\nWhat is it?"}, {false, "a cat"}, {true, "Sure?"}, {false, "\nyes\n"}}, 1);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_FALSE(tokens->mismatch);
  const int end = *tokenizer_.IdOf("<|im_end|>");
  std::vector<int> expected = tokenizer_.Encode("a cat");
  expected.push_back(end);
  expected = std::move(expected) + tokenizer_.Encode("\nyes\n") + std::vector<int>{end};
  EXPECT_EQ(Supervised(*tokens), expected);
  EXPECT_EQ(tokens->ids[0], *tokenizer_.IdOf("<|im_start|>"));  // no BOS
  ASSERT_EQ(tokens->image_spans.size(), 1u);
  EXPECT_EQ(tokens->ids[tokens->image_spans[0].offset], config_.image_token_id);
}

// What is learnt behind a question is what serving puts there.
TEST_F(ChatmlLabelsTest, ThePromptIsThatOfServing) {
  const auto tokens = Label({{true, "<image>\nWhat is it?"}, {false, "a cat"}}, 1);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  const ChatMessage message{Role::kUser, {ImagePart{0}, std::string("What is it?")}};
  const auto prompt = BuildPrompt(std::vector{message}, *ChatTemplate::ByName("chatml"), tokenizer_,
                                  config_, Layouts(config_, 1));
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  ASSERT_LT(prompt->ids.size(), tokens->ids.size());
  EXPECT_TRUE(std::equal(prompt->ids.begin(), prompt->ids.end(), tokens->ids.begin()));
  EXPECT_EQ(tokens->labels[prompt->ids.size() - 1], kIgnoreLabel);
  EXPECT_NE(tokens->labels[prompt->ids.size()], kIgnoreLabel);
}

TEST_F(ChatmlLabelsTest, ATextThatBeginsATurnIsAMismatch) {
  const auto tokens = Label({{true, "of"}, {false, "a <|im_start|> b"}}, 0);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_TRUE(tokens->mismatch);
  EXPECT_TRUE(Supervised(*tokens).empty());
}

TEST_F(ConversationLabelsTest, ChatmlNeedsItsTokens) {
  EXPECT_EQ(CodeOf({{true, "x"}, {false, "y"}}, "chatml", 0), absl::StatusCode::kInvalidArgument);
}

TEST_F(ConversationLabelsTest, ARowsOwnSystemTextTakesThePlaceOfTheTemplates) {
  const std::vector<TrainingTurn> turns = {{true, "of"}, {false, "the"}};
  for (const std::string name : {"vicuna_v1", "llava_llama_2"}) {
    const auto own =
        LabelConversation(turns, *ChatTemplate::ByName(name), tokenizer_, config_, {}, "of the of");
    ASSERT_TRUE(own.ok()) << own.status();
    EXPECT_FALSE(own->mismatch);
    EXPECT_EQ(Supervised(*own), Supervised(Label(turns, name, {})));
    EXPECT_LT(own->ids.size(), Label(turns, name, {}).ids.size());
  }
}

// As in the reference: what does not measure right teaches nothing.
TEST_F(ConversationLabelsTest, ATextThatHoldsATurnsEndIsAMismatch) {
  const LabelledTokens tokens =
      Label({{true, "of"}, {false, "the </s> of"}, {true, "a"}, {false, "b"}}, "vicuna_v1", {});
  EXPECT_TRUE(tokens.mismatch);
  EXPECT_TRUE(Supervised(tokens).empty());
}

}  // namespace
}  // namespace llava::model
