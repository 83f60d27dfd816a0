#include "server/api/openai/response.h"

#include <gtest/gtest.h>

#include "model/text/tokenizer.h"
#include "tests/support/checkpoint_fixture.h"

namespace llava::api {
namespace {

class OpenAiResponseTest : public ::testing::Test {
 protected:
  static AnswerDelta Word(int choice, const std::string& text,
                          scheduling::FinishReason finish = scheduling::FinishReason::kNone) {
    AnswerDelta delta;
    delta.choice = choice;
    delta.text = text;
    delta.tokens.push_back(
        {.token = 300, .logprob = -0.5f, .top = {{.token = 301, .logprob = -1}}});
    delta.finish = finish;
    return delta;
  }

  const model::Tokenizer tokenizer_ =
      *model::Tokenizer::Load(model::GoldenCheckpointDir(), model::Layout::kHuggingFace);
  OpenAiHead head_{
      .id = "chatcmpl-1", .created = 7, .model = "m", .version = "v", .fingerprint = "v-b-float32"};
};

TEST_F(OpenAiResponseTest, OnlyTheFirstChunkOfAChoiceNamesTheRole) {
  const auto first = ToChunk(head_, Word(1, "a"), true, tokenizer_);
  EXPECT_EQ(first.at("object").as_string(), "chat.completion.chunk");
  EXPECT_EQ(first.at("id").as_string(), "chatcmpl-1");
  EXPECT_EQ(first.at("system_fingerprint").as_string(), "v-b-float32");
  const auto& choice = first.at("choices").at(0);
  EXPECT_EQ(choice.at("index").as_int64(), 1);
  EXPECT_EQ(choice.at("delta").at("role").as_string(), "assistant");
  EXPECT_EQ(choice.at("delta").at("content").as_string(), "a");
  EXPECT_TRUE(choice.at("finish_reason").is_null());
  EXPECT_TRUE(choice.at("logprobs").is_null());
  const auto last =
      ToChunk(head_, Word(1, "b", scheduling::FinishReason::kLength), false, tokenizer_);
  EXPECT_FALSE(last.at("choices").at(0).at("delta").as_object().contains("role"));
  EXPECT_EQ(last.at("choices").at(0).at("finish_reason").as_string(), "length");
}

TEST_F(OpenAiResponseTest, UsageThatWasAskedForIsNullUntilTheLastEvent) {
  EXPECT_FALSE(ToChunk(head_, Word(0, "a"), true, tokenizer_).contains("usage"));
  head_.usage = true;
  EXPECT_TRUE(ToChunk(head_, Word(0, "a"), true, tokenizer_).at("usage").is_null());
  const auto last = UsageChunk(
      head_, {.prompt_tokens = 5, .image_tokens = 2, .cached_tokens = 3, .generated_tokens = 4});
  EXPECT_TRUE(last.at("choices").as_array().empty());
  const auto& usage = last.at("usage");
  EXPECT_EQ(usage.at("prompt_tokens").as_int64(), 5);
  EXPECT_EQ(usage.at("completion_tokens").as_int64(), 4);
  EXPECT_EQ(usage.at("total_tokens").as_int64(), 9);
  EXPECT_EQ(usage.at("prompt_tokens_details").at("cached_tokens").as_int64(), 3);
  EXPECT_EQ(usage.at("prompt_tokens_details").at("image_tokens").as_int64(), 2);
}

TEST_F(OpenAiResponseTest, TokensAndLogprobsComeWhenAskedFor) {
  head_.token_ids = true;
  head_.logprobs = true;
  const auto chunk = ToChunk(head_, Word(0, "a"), true, tokenizer_);
  const auto& choice = chunk.at("choices").at(0);
  EXPECT_EQ(choice.at("token_ids").at(0).as_int64(), 300);
  const auto& entry = choice.at("logprobs").at("content").at(0);
  EXPECT_EQ(entry.at("logprob").to_number<double>(), -0.5);
  EXPECT_EQ(entry.at("top_logprobs").at(0).at("logprob").to_number<double>(), -1);
}

TEST_F(OpenAiResponseTest, AWholeAnswerIsItsDeltasInOrder) {
  head_.token_ids = true;
  OpenAiAnswer answer(head_, 2);
  answer.Add(Word(0, "He"), tokenizer_);
  answer.Add(Word(1, "x", scheduling::FinishReason::kLength), tokenizer_);
  answer.Add(Word(0, "llo", scheduling::FinishReason::kStop), tokenizer_);
  const auto whole = answer.Finish({.prompt_tokens = 5, .generated_tokens = 3});
  EXPECT_EQ(whole.at("object").as_string(), "chat.completion");
  const auto& first = whole.at("choices").at(0);
  EXPECT_EQ(first.at("message").at("content").as_string(), "Hello");
  EXPECT_EQ(first.at("finish_reason").as_string(), "stop");
  EXPECT_EQ(first.at("token_ids").as_array().size(), 2u);
  EXPECT_EQ(whole.at("choices").at(1).at("finish_reason").as_string(), "length");
  EXPECT_EQ(whole.at("usage").at("total_tokens").as_int64(), 8);
}

}  // namespace
}  // namespace llava::api
