#include "server/chat/answer_watch.h"

#include <gtest/gtest.h>

#include <string>

namespace llava::api {
namespace {

using scheduling::FinishReason;

engine::Delta Delta(const std::string& text, FinishReason finish, int choice = 0,
                    float logprob = -1) {
  return {.choice = choice, .text = text, .tokens = {{7, logprob, {}}}, .finish = finish};
}

scheduling::Usage Usage() {
  scheduling::Usage usage;
  usage.prompt_tokens = 100;
  usage.generated_tokens = 5;
  usage.queue = std::chrono::milliseconds(60);
  usage.encode = std::chrono::milliseconds(40);
  usage.prefill = std::chrono::milliseconds(300);
  usage.decode = std::chrono::milliseconds(800);
  return usage;
}

TEST(AnswerWatchTest, MeasuresAGoodAnswer) {
  AnswerWatch watch;
  watch.set_has_logprobs(true);
  watch.Add(Delta("It is ", FinishReason::kNone, 0, -0.5));
  watch.Add(Delta("red.", FinishReason::kStop, 0, -1.5));
  const auto seen = watch.Observe(absl::OkStatus(), Usage());
  ASSERT_TRUE(seen.has_value());
  EXPECT_FALSE(seen->failed || seen->empty || seen->degenerate);
  EXPECT_DOUBLE_EQ(seen->first_token_seconds, 0.4);
  EXPECT_DOUBLE_EQ(seen->next_token_seconds, 0.2);
  EXPECT_DOUBLE_EQ(seen->mean_logprob.value_or(0), -1);
}

TEST(AnswerWatchTest, TheStepsOfOtherVersionsAreNotItsOwnTime) {
  AnswerWatch watch;
  watch.Add(Delta("It is red.", FinishReason::kStop));
  scheduling::Usage usage = Usage();
  usage.others_first = std::chrono::milliseconds(150);
  usage.others_next = std::chrono::milliseconds(400);
  const auto seen = watch.Observe(absl::OkStatus(), usage);
  EXPECT_DOUBLE_EQ(seen->first_token_seconds, 0.25);
  EXPECT_DOUBLE_EQ(seen->next_token_seconds, 0.1);
}

TEST(AnswerWatchTest, ACachedPromptSaysNothingOfTheFirstToken) {
  AnswerWatch watch;
  watch.Add(Delta("red", FinishReason::kStop));
  scheduling::Usage usage = Usage();
  usage.cached_tokens = 90;
  const auto seen = watch.Observe(absl::OkStatus(), usage);
  EXPECT_EQ(seen->first_token_seconds, 0);
  EXPECT_FALSE(seen->mean_logprob.has_value());
}

TEST(AnswerWatchTest, FindsEmptyAndDegenerateChoices) {
  AnswerWatch empty;
  empty.Add(Delta("fine", FinishReason::kStop, 0));
  empty.Add(Delta(" \n", FinishReason::kStop, 1));
  EXPECT_TRUE(empty.Observe(absl::OkStatus(), Usage())->empty);
  AnswerWatch stuck;
  for (int i = 0; i < 2000; ++i) stuck.Add(Delta(" the", FinishReason::kNone));
  stuck.Add(Delta("", FinishReason::kLength));
  EXPECT_TRUE(stuck.Observe(absl::OkStatus(), Usage())->degenerate);
  EXPECT_TRUE(stuck.Observe(absl::OkStatus(), Usage())->endless);
  EXPECT_FALSE(empty.Observe(absl::OkStatus(), Usage())->endless);
}

// Of a long answer only the end is kept, and it is the end.
TEST(AnswerWatchTest, TheEndOfALongAnswerDecides) {
  AnswerWatch watch;
  for (int i = 0; i < 600; ++i) {
    watch.Add(Delta(std::to_string(i * i) + " ", FinishReason::kNone));
    if (i % 50 != 49) continue;
    AnswerWatch so_far = watch;
    so_far.Add(Delta("", FinishReason::kStop));
    const auto seen = so_far.Observe(absl::OkStatus(), Usage());
    EXPECT_FALSE(seen->empty || seen->degenerate) << i;
  }
  for (int i = 0; i < 50; ++i) watch.Add(Delta("no ", FinishReason::kNone));
  EXPECT_TRUE(watch.Observe(absl::OkStatus(), Usage())->degenerate);
}

TEST(AnswerWatchTest, WhoIsToBlame) {
  const AnswerWatch watch;
  for (const absl::Status& ours : {absl::InternalError(""), absl::DeadlineExceededError(""),
                                   absl::ResourceExhaustedError("")}) {
    const auto seen = watch.Observe(ours, {});
    ASSERT_TRUE(seen.has_value()) << ours;
    EXPECT_TRUE(seen->failed);
    EXPECT_EQ(seen->late, absl::IsDeadlineExceeded(ours));
  }
  for (const absl::Status& theirs :
       {absl::CancelledError(""), absl::InvalidArgumentError(""), absl::UnavailableError("")}) {
    EXPECT_FALSE(watch.Observe(theirs, {}).has_value()) << theirs;
  }
}

}  // namespace
}  // namespace llava::api
