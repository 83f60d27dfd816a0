#include "server/api/grpc/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "base/field_error.h"
#include "tests/support/checkpoint_fixture.h"

namespace llava::api {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::SizeIs;

llava::v1::ChatRequest Hello() {
  llava::v1::ChatRequest request;
  llava::v1::ChatMessage* message = request.add_messages();
  message->set_role(llava::v1::ROLE_USER);
  message->add_parts()->set_text("Hello");
  return request;
}

TEST(CodecTest, TheFormReachesTheCall) {
  using Kind = model::AnswerFormat::Kind;
  llava::v1::ChatRequest request = Hello();
  EXPECT_FALSE(ToCall(request, "")->format.has_value());
  llava::v1::AnswerFormat& from = *request.mutable_format();
  EXPECT_EQ(FieldOf(ToCall(request, "request.").status()), "request.format");
  const auto expect = [&](Kind kind, const std::string& text, const std::string& field) {
    const auto call = ToCall(request, "request.");
    ASSERT_TRUE(call.ok()) << call.status();
    EXPECT_EQ(call->format->kind, kind);
    EXPECT_EQ(call->format->text, text);
    EXPECT_EQ(call->format->field, "request.format." + field);
  };
  from.mutable_json_object();
  expect(Kind::kJsonObject, "", "json_object");
  from.set_json_schema("{}");
  expect(Kind::kJsonSchema, "{}", "json_schema");
  from.set_regex("a+");
  expect(Kind::kRegex, "a+", "regex");
  from.set_grammar("start: \"a\"");
  expect(Kind::kGrammar, "start: \"a\"", "grammar");
  from.mutable_choice()->add_texts("x");
  from.mutable_choice()->add_texts("y");
  expect(Kind::kChoice, "", "choice.texts");
  EXPECT_THAT(ToCall(request, "")->format->choices, ElementsAre("x", "y"));
}

TEST(CodecTest, SamplingReachesTheCall) {
  llava::v1::ChatRequest request = Hello();
  request.set_model("m");
  request.set_tenant("alice");
  request.set_cache_salt("salt");
  request.set_n(3);
  request.set_priority(llava::v1::PRIORITY_HIGH);
  llava::v1::SamplingOptions& from = *request.mutable_sampling();
  from.set_temperature(0.5);
  from.set_top_p(0.9);
  from.set_top_k(7);
  from.set_min_p(0.1);
  from.set_repetition_penalty(1.1);
  from.set_presence_penalty(0.2);
  from.set_frequency_penalty(0.3);
  (*from.mutable_logit_bias())[5] = 1.5;
  from.set_seed(9);
  from.set_max_tokens(11);
  from.set_min_tokens(2);
  from.set_ignore_eos(true);
  from.add_stop("x");
  from.add_stop_token_ids(4);
  from.set_top_logprobs(2);
  const auto call = ToCall(request, "");
  ASSERT_TRUE(call.ok()) << call.status();
  EXPECT_EQ(call->protocol, "grpc");
  EXPECT_EQ(call->model, "m");
  EXPECT_EQ(call->tenant, "alice");
  EXPECT_EQ(call->cache_salt, "salt");
  EXPECT_EQ(call->n, 3);
  EXPECT_EQ(call->priority, scheduling::Priority::kHigh);
  const SamplingParams& sampling = call->sampling;
  EXPECT_EQ(sampling.temperature, 0.5);
  EXPECT_EQ(sampling.top_p, 0.9);
  EXPECT_EQ(sampling.top_k, 7);
  EXPECT_EQ(sampling.min_p, 0.1);
  EXPECT_EQ(sampling.repetition_penalty, 1.1);
  EXPECT_EQ(sampling.presence_penalty, 0.2);
  EXPECT_EQ(sampling.frequency_penalty, 0.3);
  EXPECT_THAT(sampling.logit_bias, ElementsAre(Pair(5, 1.5)));
  EXPECT_EQ(sampling.seed, 9u);
  EXPECT_EQ(sampling.max_tokens, 11);
  EXPECT_EQ(sampling.min_tokens, 2);
  EXPECT_TRUE(sampling.ignore_eos);
  EXPECT_THAT(sampling.stop, ElementsAre("x"));
  EXPECT_THAT(sampling.stop_token_ids, ElementsAre(4));
  EXPECT_EQ(sampling.top_logprobs, 2);
}

TEST(CodecTest, WhatIsAbsentHasItsDefault) {
  const auto call = ToCall(Hello(), "request.");
  ASSERT_TRUE(call.ok()) << call.status();
  EXPECT_EQ(call->sampling, SamplingParams());
  EXPECT_EQ(call->n, 1);
  EXPECT_EQ(call->priority, scheduling::Priority::kNormal);
  EXPECT_EQ(call->field_prefix, "request.");
  EXPECT_EQ(call->sampling_field, "sampling.");
}

TEST(CodecTest, MessagesAndImagesKeepTheirPlaces) {
  llava::v1::ChatRequest request = Hello();
  request.mutable_messages(0)->add_parts()->set_image("bytes");
  llava::v1::ChatMessage* begun = request.add_messages();
  begun->set_role(llava::v1::ROLE_ASSISTANT);
  begun->add_parts()->set_text("The");
  llava::v1::ChatMessage* more = request.add_messages();
  more->set_role(llava::v1::ROLE_USER);
  more->add_parts()->set_image("others");
  const auto call = ToCall(request, "request.");
  ASSERT_TRUE(call.ok()) << call.status();
  ASSERT_THAT(call->messages, SizeIs(3));
  EXPECT_EQ(call->messages[0].role, model::Role::kUser);
  EXPECT_EQ(std::get<model::ImagePart>(call->messages[0].parts[1]).index, 0);
  EXPECT_EQ(call->messages[1].role, model::Role::kAssistant);
  EXPECT_EQ(std::get<model::ImagePart>(call->messages[2].parts[0]).index, 1);
  ASSERT_THAT(call->images, SizeIs(2));
  EXPECT_EQ(call->images[1].bytes, "others");
  EXPECT_EQ(call->images[0].bytes, "bytes");
  EXPECT_EQ(call->images[0].field, "request.messages[0].parts[1].image");
}

TEST(CodecTest, WhatCannotBeTranslatedIsNamed) {
  const auto field = [](const llava::v1::ChatRequest& request) {
    return FieldOf(ToCall(request, "request.").status());
  };
  llava::v1::ChatRequest request = Hello();
  request.mutable_messages(0)->set_role(llava::v1::ROLE_UNSPECIFIED);
  EXPECT_EQ(field(request), "request.messages[0].role");
  request = Hello();
  request.mutable_messages(0)->clear_parts();
  EXPECT_EQ(field(request), "request.messages[0].parts");
  request = Hello();
  request.mutable_messages(0)->add_parts();
  EXPECT_EQ(field(request), "request.messages[0].parts[1]");
  request = Hello();
  request.mutable_sampling()->set_top_logprobs(-1);
  EXPECT_EQ(field(request), "request.sampling.top_logprobs");
  request = Hello();
  request.set_priority(static_cast<llava::v1::Priority>(99));
  EXPECT_EQ(field(request), "request.priority");
}

TEST(CodecTest, TokensAndLogprobsComeWhenAskedFor) {
  llava::v1::ChatRequest request = Hello();
  EXPECT_FALSE(OptionsOf(request).token_ids);
  EXPECT_FALSE(OptionsOf(request).logprobs);
  request.set_return_token_ids(true);
  request.mutable_sampling()->set_top_logprobs(0);
  EXPECT_TRUE(OptionsOf(request).token_ids);
  EXPECT_TRUE(OptionsOf(request).logprobs);
}

AnswerDelta Word() {
  AnswerDelta delta;
  delta.choice = 1;
  delta.text = "hi";
  delta.tokens.push_back({.token = 300, .logprob = -0.5f, .top = {{.token = 301, .logprob = -1}}});
  delta.finish = scheduling::FinishReason::kLength;
  return delta;
}

TEST(CodecTest, AnswersCarryWhatWasAskedFor) {
  const model::Tokenizer tokenizer =
      *model::Tokenizer::Load(model::GoldenCheckpointDir(), model::Layout::kHuggingFace);
  llava::v1::ChatStreamResponse event;
  FillDelta(Word(), {}, tokenizer, &event);
  EXPECT_EQ(event.index(), 1);
  EXPECT_EQ(event.text_delta(), "hi");
  EXPECT_EQ(event.finish_reason(), llava::v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(event.token_ids_size(), 0);
  EXPECT_EQ(event.logprobs_size(), 0);
  llava::v1::ChatResponse response;
  response.add_choices();
  response.add_choices();
  AppendDelta(Word(), {.token_ids = true, .logprobs = true}, tokenizer, &response);
  AppendDelta(Word(), {.token_ids = true, .logprobs = true}, tokenizer, &response);
  EXPECT_EQ(response.choices(1).text(), "hihi");
  EXPECT_THAT(response.choices(1).token_ids(), ElementsAre(300, 300));
  EXPECT_FLOAT_EQ(static_cast<float>(response.choices(1).logprobs(0).logprob()), -0.5f);
  EXPECT_EQ(response.choices(1).logprobs(1).top(0).token_id(), 301);
}

TEST(CodecTest, UsageCountsWhatCachingSpared) {
  engine::End end;
  end.usage = {.prompt_tokens = 20,
               .image_tokens = 16,
               .cached_tokens = 4,
               .generated_tokens = 3,
               .images_encoded = 1,
               .queue = std::chrono::milliseconds(700),
               .prefill = std::chrono::milliseconds(300)};
  llava::v1::Usage usage;
  FillUsage(end, std::chrono::milliseconds(200), 3, &usage);
  EXPECT_EQ(usage.prompt_tokens(), 20);
  EXPECT_EQ(usage.image_tokens(), 16);
  EXPECT_EQ(usage.cached_tokens(), 4);
  EXPECT_EQ(usage.generated_tokens(), 3);
  EXPECT_EQ(usage.images(), 3);
  EXPECT_EQ(usage.cached_images(), 2);
  EXPECT_EQ(usage.queue_time().nanos(), 500'000'000);  // without the time to prepare
  EXPECT_EQ(usage.time_to_first_token().seconds(), 1);
}

}  // namespace
}  // namespace llava::api
