#include "server/api/openai/request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"

namespace llava::api {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr char kHello[] = R"([{"role": "user", "content": "Hello"}])";

// A request that says hello, with more fields.
absl::StatusOr<OpenAiRequest> Parse(const std::string& fields) {
  return ParseOpenAiRequest(
      "application/json",
      absl::StrCat("{\"messages\": ", kHello, fields.empty() ? "" : ", ", fields, "}"));
}

OpenAiRequest Parsed(const std::string& fields) {
  auto request = Parse(fields);
  EXPECT_TRUE(request.ok()) << fields << ": " << request.status();
  return request.ok() ? *std::move(request) : OpenAiRequest();
}

absl::StatusOr<OpenAiRequest> ParseMessages(const std::string& messages) {
  return ParseOpenAiRequest("application/json", absl::StrCat("{\"messages\": ", messages, "}"));
}

std::string Text(const model::MessagePart& part) { return std::get<std::string>(part); }

TEST(OpenAiRequestTest, SamplingFieldsReachTheCall) {
  const OpenAiRequest request = Parsed(
      R"("temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1, "repetition_penalty": 1.1,
         "presence_penalty": 0.2, "frequency_penalty": 0.3, "max_tokens": 9, "min_tokens": 2,
         "ignore_eos": true, "stop": ["x", "y"], "stop_token_ids": [3, 4.0],
         "logit_bias": {"5": 1.5}, "seed": 18446744073709551615, "logprobs": true,
         "top_logprobs": 2, "n": 3, "priority": "low", "user": "alice", "model": "m",
         "cache_salt": "s")");
  const SamplingParams& sampling = request.call.sampling;
  EXPECT_EQ(sampling.temperature, 0.5);
  EXPECT_EQ(sampling.top_p, 0.9);
  EXPECT_EQ(sampling.top_k, 7);
  EXPECT_EQ(sampling.min_p, 0.1);
  EXPECT_EQ(sampling.repetition_penalty, 1.1);
  EXPECT_EQ(sampling.presence_penalty, 0.2);
  EXPECT_EQ(sampling.frequency_penalty, 0.3);
  EXPECT_EQ(sampling.max_tokens, 9);
  EXPECT_EQ(sampling.min_tokens, 2);
  EXPECT_TRUE(sampling.ignore_eos);
  EXPECT_THAT(sampling.stop, ElementsAre("x", "y"));
  EXPECT_THAT(sampling.stop_token_ids, ElementsAre(3, 4));
  EXPECT_THAT(sampling.logit_bias, ElementsAre(Pair(5, 1.5)));
  EXPECT_EQ(sampling.seed, 18446744073709551615u);
  EXPECT_EQ(sampling.top_logprobs, 2);
  EXPECT_EQ(request.call.n, 3);
  EXPECT_EQ(request.call.priority, scheduling::Priority::kLow);
  EXPECT_EQ(request.call.tenant, "alice");
  EXPECT_EQ(request.call.cache_salt, "s");
  EXPECT_EQ(request.call.model, "m");
}

TEST(OpenAiRequestTest, AnswerFieldsAreKept) {
  const OpenAiRequest request = Parsed(
      R"("stream": true, "return_token_ids": true,
         "stream_options": {"include_usage": true, "include_obfuscation": false})");
  EXPECT_TRUE(request.stream);
  EXPECT_TRUE(request.include_usage);
  EXPECT_TRUE(request.token_ids);
  EXPECT_FALSE(Parsed("").stream);
  EXPECT_FALSE(Parsed(R"("stream_options": {"include_usage": null})").include_usage);
}

TEST(OpenAiRequestTest, WordsForOff) {
  EXPECT_EQ(Parsed("\"top_k\": -1").call.sampling.top_k, 0);
  EXPECT_EQ(Parsed("\"top_p\": 0").call.sampling.top_p, 0);
  EXPECT_EQ(Parsed("\"top_logprobs\": 0").call.sampling.top_logprobs, -1);
  EXPECT_EQ(Parsed("\"logprobs\": true").call.sampling.top_logprobs, 0);
  EXPECT_EQ(Parsed("\"priority\": 0").call.priority, scheduling::Priority::kNormal);
  EXPECT_EQ(Parsed("\"stop\": []").call.sampling.stop, std::vector<std::string>());
  EXPECT_EQ(Parsed("\"max_tokens\": null").call.sampling.max_tokens, 256);
}

TEST(OpenAiRequestTest, TheNewerNameOfMaxTokensCounts) {
  EXPECT_EQ(Parsed("\"max_tokens\": 3, \"max_completion_tokens\": 4").call.sampling.max_tokens, 4);
  EXPECT_EQ(Parsed("\"max_completion_tokens\": 4, \"max_tokens\": 3").call.sampling.max_tokens, 4);
}

TEST(OpenAiRequestTest, WrongFieldsAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("temperature": "hot")", "temperature"},
      {R"("top_k": 1.5)", "top_k"},
      {R"("max_completion_tokens": 0)", "max_completion_tokens"},
      {R"("n": 1e300)", "n"},
      {R"("cache_salt": 7)", "cache_salt"},
      {R"("stream": 1)", "stream"},
      {R"("stop": [1])", "stop[0]"},
      {R"("stop": 1)", "stop"},
      {R"("stop_token_ids": ["x"])", "stop_token_ids[0]"},
      {R"("logit_bias": {"x": 1})", "logit_bias.x"},
      {R"("seed": 0.5)", "seed"},
      {R"("priority": "urgent")", "priority"},
      {R"("top_logprobs": 1)", "top_logprobs"},
      {R"("top_logprobs": 2)", "top_logprobs"},
      {R"("top_logprobs": -1)", "top_logprobs"},
      {R"("stream_options": {"x": 1})", "stream_options.x"},
      {R"("stream_options": {"include_obfuscation": true})", "stream_options.include_obfuscation"},
      {R"("tools": [{}])", "tools[0].function"},
      {R"("tool_choice": "f")", "tool_choice"},
      {R"("parallel_tool_calls": 1)", "parallel_tool_calls"},
      {R"("no_such": 1)", "no_such"},
      {R"("no_such": null)", "no_such"},
      {R"("continue_final_message": true)", "continue_final_message"},
      {R"("add_generation_prompt": false)", "add_generation_prompt"},
  };
  for (const auto& [fields, field] : cases) {
    const auto request = Parse(fields);
    EXPECT_TRUE(absl::IsInvalidArgument(request.status())) << fields;
    EXPECT_EQ(FieldOf(request.status()), field) << request.status();
  }
}

TEST(OpenAiRequestTest, ContinuingIsDecidedByTheLastMessage) {
  constexpr char kBegun[] =
      R"([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "The"}])";
  const auto parse = [&](const std::string& more) {
    return ParseOpenAiRequest("", absl::StrCat("{\"messages\": ", kBegun, more, "}")).status();
  };
  EXPECT_TRUE(parse("").ok());
  EXPECT_TRUE(parse(R"(, "continue_final_message": true, "add_generation_prompt": false)").ok());
  EXPECT_EQ(FieldOf(parse(R"(, "continue_final_message": false)")), "continue_final_message");
  EXPECT_TRUE(Parse(R"("continue_final_message": false, "add_generation_prompt": true)").ok());
}

TEST(OpenAiRequestTest, RolesAndParts) {
  const auto request = ParseMessages(
      R"([{"role": "system", "content": "A"}, {"role": "developer", "content": "B"},
          {"role": "user", "name": "bob", "tool_calls": [], "reasoning_content": "",
           "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]},
          {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}])");
  ASSERT_TRUE(request.ok()) << request.status();
  const std::vector<model::ChatMessage>& messages = request->call.messages;
  ASSERT_THAT(messages, SizeIs(4));
  EXPECT_EQ(messages[0].role, model::Role::kSystem);
  EXPECT_EQ(messages[1].role, model::Role::kSystem);
  EXPECT_EQ(messages[2].role, model::Role::kUser);
  EXPECT_EQ(messages[3].role, model::Role::kAssistant);
  ASSERT_THAT(messages[2].parts, SizeIs(2));
  EXPECT_EQ(Text(messages[2].parts[1]), "y");
  EXPECT_EQ(Text(messages[3].parts[0]), "no");
}

TEST(OpenAiRequestTest, WrongMessagesAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"1", "messages"},
      {"[1]", "messages[0]"},
      {R"([{"content": "x"}])", "messages[0].role"},
      {R"([{"role": "robot", "content": "x"}])", "messages[0].role"},
      {R"([{"role": "tool", "content": "x", "tool_call_id": 1}])", "messages[0].tool_call_id"},
      {R"([{"role": "user"}])", "messages[0].content"},
      {R"([{"role": "user", "content": []}])", "messages[0].content"},
      {R"([{"role": "user", "content": [{"type": "audio"}]}])", "messages[0].content[0]"},
      {R"([{"role": "user", "content": "x", "tool_calls": [{}]}])",
       "messages[0].tool_calls[0].function"},
      {R"([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}])",
       "messages[0].content[0].image_url.url"},
      {R"([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp:x"}}]}])",
       "messages[0].content[0].image_url.url"},
  };
  for (const auto& [messages, field] : cases) {
    const auto request = ParseMessages(messages);
    EXPECT_TRUE(absl::IsInvalidArgument(request.status())) << messages;
    EXPECT_EQ(FieldOf(request.status()), field) << request.status();
  }
}

TEST(OpenAiRequestTest, WhatWasGivenAndWhatWasExpectedAreSaid) {
  constexpr char kParts[] =
      R"({"type": "text", "text": ...} or {"type": "image_url", "image_url": {"url": ...}})";
  const std::string user = R"([{"role": "user", "content": )";
  const std::string part = "messages[0].content[0]: ";
  const std::string url = "messages[0].content[0].image_url.url: ";
  const auto picture = [&user](const std::string& given) {
    return absl::StrCat(user, R"([{"type": "image_url", "image_url": {"url": )", given, "}}]}]");
  };
  const std::pair<std::string, std::string> cases[] = {
      {user + "null}]", "messages[0].content: is null, expected text or a list of parts"},
      {user + "[]}]", "messages[0].content: is an empty list, expected text or a list of parts"},
      {R"([{"role": "user"}])",
       "messages[0].content: is missing, expected text or a list of parts"},
      {R"([{"role": "bot", "content": ""}])",
       "messages[0].role: is 'bot', expected system, developer, user, assistant or tool"},
      {user + R"(["x"]}])", absl::StrCat(part, "is 'x', expected ", kParts)},
      {user + "[{}]}]", absl::StrCat(part, "has no type, expected ", kParts)},
      {user + R"([{"type": "audio"}]}])",
       absl::StrCat(part, "has the type 'audio', expected ", kParts)},
      {user + R"([{"type": "text"}]}])", absl::StrCat(part, "has no text, expected ", kParts)},
      {picture("7"), url + "is 7, expected a URL, such as a data: URI"},
      {picture("\"ftp:x\""), url + "is 'ftp:x', expected a data:, cid:, http: or https: URL"},
      {picture("\"data:image/png\""),
       url + "is 'data:image/png', expected a comma in the data: URI"},
      {picture("\"data:;base64,!\""), url + "is 'data:;base64,!', expected base64 after the comma"},
      {R"([{"role": "user", "content": "x", "audio": {"id": "a"}}])",
       "messages[0].audio: is an object, which is not supported, expected none"},
  };
  for (const auto& [messages, said] : cases) {
    EXPECT_EQ(ParseMessages(messages).status().message(), said) << messages;
  }
}

TEST(OpenAiRequestTest, MembersOfAPartThatWouldBeLostAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"type": "text", "text": "a", "image_ur1": {"url": "data:,x"}})", ".image_ur1"},
      {R"({"type": "text", "text": "a", "image_url": {"url": "data:,x"}})", ".image_url"},
      {R"({"type": "image_url", "image_url": {"url": "data:,x", "detial": "low"}})",
       ".image_url.detial"},
      {R"({"type": "image_url", "image_url": {"url": "data:,x", "detail": 3}})",
       ".image_url.detail"},
      {R"({"type": "refusal", "refusal": "no"})", ".refusal"},
  };
  for (const auto& [part, field] : cases) {
    const auto request =
        ParseMessages(absl::StrCat(R"([{"role": "user", "content": [)", part, "]}]"));
    EXPECT_EQ(FieldOf(request.status()), absl::StrCat("messages[0].content[0]", field)) << part;
  }
}

TEST(OpenAiRequestTest, MembersOfAPartThatAskForNothingPass) {
  for (
      const char* part : {
          R"({"type": "text", "text": "a", "annotations": [], "image_url": null})",
          R"({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}})",
          R"({"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}})",
          R"({"type": "image_url", "uuid": "u", "image_url": {"url": "data:,x", "detail": "low"}})",
          R"({"type": "image_url", "image_url": "data:,x"})",
      }) {
    const auto request =
        ParseMessages(absl::StrCat(R"([{"role": "user", "content": [)", part, "]}]"));
    EXPECT_TRUE(request.ok()) << part << ": " << request.status();
  }
}

TEST(OpenAiRequestTest, MembersOfAMessageThatLoseNothingPass) {
  for (const char* more : {R"("parsed": {"a": 1})", R"("provider_specific_fields": {})",
                           R"("cache_control": {"type": "ephemeral"})", R"("annotations": [])"}) {
    const auto request = ParseMessages(
        absl::StrCat(R"([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", )",
                     more, "}]"));
    EXPECT_TRUE(request.ok()) << more << ": " << request.status();
  }
}

TEST(OpenAiRequestTest, ARefusalIsWhatTheAssistantSaid) {
  const auto request = ParseMessages(
      R"([{"role": "user", "content": "x", "refusal": null},
          {"role": "assistant", "content": null, "refusal": "I cannot."},
          {"role": "assistant", "refusal": "No."},
          {"role": "assistant", "content": "So", "refusal": " not"}])");
  ASSERT_TRUE(request.ok()) << request.status();
  const std::vector<model::ChatMessage>& messages = request->call.messages;
  ASSERT_THAT(messages, SizeIs(4));
  EXPECT_THAT(messages[1].parts, ElementsAre(model::MessagePart("I cannot.")));
  EXPECT_THAT(messages[2].parts, ElementsAre(model::MessagePart("No.")));
  EXPECT_THAT(messages[3].parts, ElementsAre(model::MessagePart("So"), model::MessagePart(" not")));
  EXPECT_EQ(
      FieldOf(ParseMessages(R"([{"role": "user", "content": "x", "refusal": "no"}])").status()),
      "messages[0].refusal");
  EXPECT_EQ(FieldOf(ParseMessages(R"([{"role": "assistant", "refusal": 7}])").status()),
            "messages[0].refusal");
  EXPECT_EQ(FieldOf(ParseMessages(R"([{"role": "assistant", "content": null}])").status()),
            "messages[0].content");
}

// An image's bytes stay where they are when the request moves.
TEST(OpenAiRequestTest, ImagesComeFromUrlsAndForms) {
  constexpr char kQuestion[] =
      R"({"messages": [{"role": "user", "content": [
           {"type": "image_url", "image_url": {"url": " da\tta:image/png;base64,aG\r\nk= "}},
           {"type": "image_url", "image_url": "CID:one"},
           {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}},
           {"type": "text", "text": "?"}]}]})";
  std::string body = "--b\r\nContent-Disposition: form-data; name=\"request\"\r\n\r\n";
  absl::StrAppend(&body, kQuestion);
  for (const char* name : {"one", "two"}) {
    absl::StrAppend(&body, "\r\n--b\r\nContent-Disposition: form-data; name=\"", name,
                    "\"\r\n\r\nbytes of ", name);
  }
  body += "\r\n--b--\r\n";
  auto parsed = ParseOpenAiRequest("Multipart/Form-Data; boundary=\"b\"", body);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const OpenAiRequest request = *std::move(parsed);
  ASSERT_THAT(request.call.images, SizeIs(4));
  EXPECT_EQ(request.call.images[0].bytes, "hi");
  EXPECT_EQ(request.call.images[1].bytes, "bytes of one");
  EXPECT_EQ(request.call.images[2].bytes, "");
  EXPECT_EQ(request.call.images[3].bytes, "bytes of two");
  ASSERT_THAT(request.remote, SizeIs(1));
  EXPECT_EQ(request.remote[0].image, 2u);
  EXPECT_EQ(request.remote[0].url, "https://example.org/x.png");
  // What no URL names stands first in the last message.
  EXPECT_EQ(std::get<model::ImagePart>(request.call.messages[0].parts[0]).index, 3);
}

// A part that no URL names goes to what the user said last, or where no user speaks, to the last.
TEST(OpenAiRequestTest, PicturesOfAFormBelongToTheUsersLastMessage) {
  const auto images_of = [](const std::string& messages) {
    const auto request = ParseOpenAiRequest(
        "multipart/form-data; boundary=b",
        absl::StrCat("--b\r\nContent-Disposition: form-data; name=\"request\"\r\n\r\n",
                     "{\"messages\": ", messages, "}\r\n--b\r\n",
                     "Content-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--b--"));
    EXPECT_TRUE(request.ok()) << request.status();
    std::vector<std::size_t> counts;
    for (const model::ChatMessage& message : request->call.messages) {
      counts.push_back(message.parts.size() - 1);
    }
    return counts;
  };
  EXPECT_THAT(images_of(R"([{"role": "user", "content": "1"}, {"role": "user", "content": "2"},
                            {"role": "assistant", "content": "The"}])"),
              ElementsAre(0, 1, 0));
  EXPECT_THAT(images_of(R"([{"role": "system", "content": "1"},
                            {"role": "assistant", "content": "The"}])"),
              ElementsAre(0, 1));
}

TEST(OpenAiRequestTest, NamesInErrorsAreUtf8) {
  const auto form = ParseOpenAiRequest(
      "multipart/form-data; boundary=b",
      "--b\r\nContent-Disposition: form-data; name=\"\xff\"\r\n\r\nx\r\n--b--\r\n");
  EXPECT_EQ(FieldOf(form.status()), "request");
  const std::string name(200, 'x');
  EXPECT_EQ(FieldOf(Parse("\"" + name + "\": 1").status()),
            name.substr(0, 100) + "... (200 bytes)");
}

}  // namespace
}  // namespace llava::api
