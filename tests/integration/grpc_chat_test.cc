// ChatService over real sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <set>
#include <thread>

#include "server/observe/metrics.h"
#include "tests/integration/daemon.h"

namespace llava::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using v1::ChatRequest;
using v1::ChatResponse;

grpc::Status Chat(v1::ChatService::Stub& stub, const ChatRequest& request, ChatResponse* response) {
  grpc::ClientContext context;
  return stub.Chat(&context, request, response);
}

TEST(GrpcChatTest, AnswersAndAccounts) {
  Daemon daemon;
  const auto stub = daemon.Stub();
  ChatResponse response;
  const auto status =
      Chat(*stub, Ask("What is this?", {GoldenImage("landscape.png")}, 12), &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.model(), "golden");
  EXPECT_EQ(response.model_version().size(), 64u);
  ASSERT_EQ(response.choices_size(), 1);
  EXPECT_EQ(response.choices(0).token_ids_size(), 12);
  EXPECT_EQ(response.choices(0).finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_THAT(response.choices(0).text(), Not(IsEmpty()));
  EXPECT_EQ(response.usage().generated_tokens(), 12);
  EXPECT_EQ(response.usage().images(), 1);
  EXPECT_EQ(response.usage().cached_images(), 0);
  EXPECT_EQ(response.usage().image_tokens(), 16);
  EXPECT_GT(response.usage().prompt_tokens(), 16);
  EXPECT_EQ(response.usage().cached_tokens(), 0);
}

TEST(GrpcChatTest, ASecondQuestionOnAImageNeedsNeitherEncoderNorItsPrompt) {
  Daemon daemon;
  const auto stub = daemon.Stub();
  const std::string image = GoldenImage("portrait.jpg");
  ChatResponse first, second, other;
  ASSERT_TRUE(Chat(*stub, Ask("What is this?", {image}, 4), &first).ok());
  ASSERT_TRUE(Chat(*stub, Ask("Which colours?", {image}, 4), &second).ok());
  ASSERT_TRUE(Chat(*stub, Ask("What is this?", {GoldenImage("gray.png")}, 4), &other).ok());
  EXPECT_EQ(second.usage().cached_images(), 1);
  EXPECT_GE(second.usage().cached_tokens(), 16);
  EXPECT_EQ(other.usage().cached_images(), 0);
  EXPECT_LT(other.usage().cached_tokens(), 16);
}

TEST(GrpcChatTest, AStreamSaysWhatTheWholeAnswerSays) {
  Daemon daemon;
  const auto stub = daemon.Stub();
  const ChatRequest request = Ask("Describe it.", {GoldenImage("rgba.png")}, 40);
  ChatResponse whole;
  ASSERT_TRUE(Chat(*stub, request, &whole).ok());
  grpc::ClientContext context;
  const StreamResult stream = ReadStream(*stub, request, &context);
  ASSERT_TRUE(stream.status.ok()) << stream.status.error_message();
  EXPECT_EQ(stream.text, whole.choices(0).text());
  EXPECT_THAT(stream.token_ids, ::testing::ElementsAreArray(whole.choices(0).token_ids()));
  EXPECT_EQ(stream.last.usage().generated_tokens(), 40);
  EXPECT_EQ(stream.last.model_version(), whole.model_version());
  EXPECT_GE(stream.events, 2);  // at least one delta, and the usage
}

TEST(GrpcChatTest, SeveralChoicesWithLogprobs) {
  Daemon daemon;
  const auto stub = daemon.Stub();
  ChatRequest request = Ask("Invent something.", {}, 6);
  request.set_n(3);
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_seed(7);
  request.mutable_sampling()->set_top_logprobs(2);
  ChatResponse first, again;
  ASSERT_TRUE(Chat(*stub, request, &first).ok());
  ASSERT_TRUE(Chat(*stub, request, &again).ok());
  ASSERT_EQ(first.choices_size(), 3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(first.choices(i).index(), i);
    EXPECT_EQ(first.choices(i).text(), again.choices(i).text());
    ASSERT_EQ(first.choices(i).logprobs_size(), 6);
    EXPECT_EQ(first.choices(i).logprobs(0).top_size(), 2);
    EXPECT_EQ(first.choices(i).logprobs(0).token_id(), first.choices(i).token_ids(0));
  }
  EXPECT_NE(first.choices(0).text(), first.choices(1).text());
  EXPECT_EQ(first.usage().generated_tokens(), 18);
}

TEST(GrpcChatTest, AStopStringEndsTheAnswerAndIsNotPartOfIt) {
  Daemon daemon;
  const auto stub = daemon.Stub();
  ChatRequest request = Ask("Tell me.", {}, 60);
  ChatResponse whole, cut;
  ASSERT_TRUE(Chat(*stub, request, &whole).ok());
  const std::string& text = whole.choices(0).text();
  const std::string stop = text.substr(text.size() / 2, 3);
  request.mutable_sampling()->add_stop(stop);
  ASSERT_TRUE(Chat(*stub, request, &cut).ok());
  EXPECT_EQ(cut.choices(0).text(), text.substr(0, text.find(stop)));
  EXPECT_EQ(cut.choices(0).finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_LT(cut.usage().generated_tokens(), 60);
}

// gRPC counts deadlines on the system clock.
std::chrono::system_clock::time_point In(Duration delay) {
  return std::chrono::system_clock::time_point(
      std::chrono::milliseconds(RealClock().UnixMillis()) +
      std::chrono::duration_cast<std::chrono::milliseconds>(delay));
}

struct Mistake {
  std::string field;
  std::function<void(ChatRequest*)> make;
};

std::vector<Mistake> MessageMistakes(const std::string& png) {
  return {
      {"messages", [](auto* r) { r->clear_messages(); }},
      {"messages",
       [](auto* r) {
         for (int i = 0; i < 5; ++i) *r->add_messages() = r->messages(0);
       }},
      {"messages[0].role", [](auto* r) { r->mutable_messages(0)->clear_role(); }},
      {"messages[0].role", [](auto* r) { r->mutable_messages(0)->set_role(v1::Role(17)); }},
      {"messages[0].parts", [](auto* r) { r->mutable_messages(0)->clear_parts(); }},
      {"messages[0].parts[1]", [](auto* r) { r->mutable_messages(0)->add_parts(); }},
      {"messages[0].parts[1].image",
       [](auto* r) { r->mutable_messages(0)->add_parts()->set_image("not a picture"); }},
      {"messages[0].parts[1].image",
       [](auto* r) { r->mutable_messages(0)->add_parts()->set_image(""); }},
      {"messages[0].parts[1].image",
       [](auto* r) { r->mutable_messages(0)->add_parts()->set_image(std::string(5000, 'x')); }},
      {"messages[0].parts[1].image",
       [png](auto* r) {
         r->mutable_messages(0)->add_parts()->set_image(png.substr(0, png.size() / 2));
       }},
      {"messages",
       [png](auto* r) {
         for (int i = 0; i < 3; ++i) r->mutable_messages(0)->add_parts()->set_image(png);
       }},
      {"messages[0].parts[1].image",
       [](auto* r) {
         r->mutable_messages(0)->add_parts()->set_image(GoldenImage("landscape.png"));
       }},
      {"messages",
       [](auto* r) { r->mutable_messages(0)->add_parts()->set_text(std::string(1001, 'a')); }},
      {"messages",  // too many tokens
       [](auto* r) {
         std::string words;
         while (words.size() < 1000) words += "\u2603 ";
         r->mutable_messages(0)->mutable_parts(0)->set_text(words.substr(0, 996));
       }},
      {"messages[1]",  // an image of the system's
       [png](auto* r) {
         for (int i = 0; i < 2; ++i) *r->add_messages() = r->messages(0);
         r->mutable_messages(1)->set_role(v1::ROLE_SYSTEM);
         r->mutable_messages(1)->add_parts()->set_image(png);
       }},
  };
}

std::vector<Mistake> ParameterMistakes() {
  return {
      {"n", [](auto* r) { r->set_n(-1); }},
      {"n", [](auto* r) { r->set_n(9); }},
      {"priority", [](auto* r) { r->set_priority(v1::Priority(9)); }},
      {"tenant", [](auto* r) { r->set_tenant(std::string(257, 't')); }},
      {"cache_salt", [](auto* r) { r->set_cache_salt(std::string(257, 's')); }},
  };
}

using v1::SamplingOptions;

// Each number of SamplingOptions, below and above what is right, and no number.
std::vector<Mistake> SamplingMistakes() {
  std::vector<Mistake> mistakes;
  const auto add = [&mistakes](const std::string& name, auto set, auto... values) {
    (mistakes.push_back(
         {"sampling." + name, [set, values](auto* r) { (r->mutable_sampling()->*set)(values); }}),
     ...);
  };
  add("temperature", &SamplingOptions::set_temperature, -1, 101, NAN, INFINITY);
  add("top_p", &SamplingOptions::set_top_p, -0.1, 1.1, NAN);
  add("top_k", &SamplingOptions::set_top_k, -1);
  add("min_p", &SamplingOptions::set_min_p, -0.1, 2, NAN);
  add("repetition_penalty", &SamplingOptions::set_repetition_penalty, 0, 11, NAN);
  add("presence_penalty", &SamplingOptions::set_presence_penalty, -3, 3, NAN);
  add("frequency_penalty", &SamplingOptions::set_frequency_penalty, -3, 3, NAN);
  add("max_tokens", &SamplingOptions::set_max_tokens, 0, -1);
  add("min_tokens", &SamplingOptions::set_min_tokens, -1, 100);
  add("top_logprobs", &SamplingOptions::set_top_logprobs, -1, 21);
  return mistakes;
}

std::vector<Mistake> ListMistakes() {
  const auto bias = [](std::int32_t id, double value) {
    return [id, value](auto* r) { (*r->mutable_sampling()->mutable_logit_bias())[id] = value; };
  };
  return {
      {"sampling.logit_bias[5]", bias(5, 101)},
      {"sampling.logit_bias[5]", bias(5, NAN)},
      {"sampling.logit_bias[-1]", bias(-1, 1)},
      {"sampling.logit_bias[1000000]", bias(1'000'000, 1)},
      {"sampling.stop_token_ids[0]",
       [](auto* r) { r->mutable_sampling()->add_stop_token_ids(-1); }},
      {"sampling.stop_token_ids[0]",
       [](auto* r) { r->mutable_sampling()->add_stop_token_ids(1'000'000); }},
      {"sampling.stop_token_ids",
       [](auto* r) {
         for (int i = 0; i < 1025; ++i) r->mutable_sampling()->add_stop_token_ids(1);
       }},
      {"sampling.stop[0]", [](auto* r) { r->mutable_sampling()->add_stop(""); }},
      {"sampling.stop[0]", [](auto* r) { r->mutable_sampling()->add_stop(std::string(257, 's')); }},
      {"sampling.stop",
       [](auto* r) {
         for (int i = 0; i < 17; ++i) r->mutable_sampling()->add_stop("x");
       }},
  };
}

std::vector<Mistake> FormatMistakes() {
  const auto with = [](auto set) {
    return [set](ChatRequest* r) {
      r->mutable_sampling()->clear_ignore_eos();  // a form says itself when the answer ends
      set(r->mutable_format());
    };
  };
  return {
      {"format.json_schema", with([](auto* f) { f->set_json_schema("{"); })},
      {"format.json_schema", with([](auto* f) { f->set_json_schema(R"({"type": "nothing"})"); })},
      {"format.regex", with([](auto* f) { f->set_regex("(a"); })},
      {"format.grammar", with([](auto* f) { f->set_grammar("start: missing"); })},
      {"format.choice.texts", with([](auto* f) { f->mutable_choice(); })},
  };
}

std::vector<Mistake> AllMistakes(const std::string& png) {
  std::vector<Mistake> all = MessageMistakes(png);
  for (const auto& more :
       {ParameterMistakes(), SamplingMistakes(), ListMistakes(), FormatMistakes()}) {
    all.insert(all.end(), more.begin(), more.end());
  }
  return all;
}

// "messages.parts.image", ...: every field that holds a value.
void CollectFields(const google::protobuf::Descriptor& message, const std::string& prefix,
                   std::set<std::string>* fields) {
  for (int i = 0; i < message.field_count(); ++i) {
    const auto* field = message.field(i);
    if (field->message_type() != nullptr && !field->is_map()) {
      CollectFields(*field->message_type(), prefix + field->name() + ".", fields);
    } else {
      fields->insert(prefix + field->name());
    }
  }
}

TEST(GrpcChatTest, AMistakeIsKnownForEveryFieldThatCanBeWrong) {
  std::set<std::string> fields;
  CollectFields(*ChatRequest::descriptor(), "", &fields);
  for (const Mistake& mistake : AllMistakes("")) {
    std::string field;
    for (bool index = false; const char c : mistake.field) {
      index = c == '[' || (index && c != ']');
      if (!index && c != ']') field += c;
    }
    fields.erase(field);
  }
  EXPECT_THAT(
      fields,
      ::testing::ElementsAre(
          "messages.parts.text",  // counted together, as `messages`
                                  // Functions and their calls have a test of their own, tools.
          "messages.tool_call_id", "messages.tool_calls.arguments", "messages.tool_calls.id",
          "messages.tool_calls.name",
          "model",  // NOT_FOUND, below
          "parallel_tool_calls", "return_token_ids", "sampling.ignore_eos", "sampling.seed",
          "tool_choice.function", "tool_choice.mode", "tools.description", "tools.name",
          "tools.parameters"));
}

TEST(GrpcChatTest, EachMistakeNamesItsField) {
  server::Config config = TestConfig();
  config.max_image_bytes = 4096;
  config.max_images = 2;
  config.max_text_bytes = 1000;
  config.max_messages = 4;
  config.max_image_pixels = 13'000;
  Daemon daemon(config);
  const auto stub = daemon.Stub();
  const std::string png = GoldenImage("gray.png");
  for (const Mistake& mistake : AllMistakes(png)) {
    ChatRequest request = Ask("Hello", {}, 4);
    mistake.make(&request);
    ChatResponse response;
    const auto status = Chat(*stub, request, &response);
    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT)
        << mistake.field << ": " << status.error_message();
    EXPECT_THAT(status.error_message(), ::testing::StartsWith(mistake.field + ": "));
    EXPECT_THAT(status.error_details(), HasSubstr("google.rpc.BadRequest")) << mistake.field;
    grpc::ClientContext context;
    EXPECT_THAT(ReadStream(*stub, request, &context).status.error_message(),
                ::testing::StartsWith("request." + mistake.field + ": "));
  }
  ChatResponse response;
  EXPECT_TRUE(Chat(*stub, Ask("Hello", {png}, 4), &response).ok());
}

TEST(GrpcChatTest, AnUnknownModelIsNotFoundAndALongPromptInvalid) {
  Daemon daemon;
  const auto stub = daemon.Stub();
  ChatRequest request = Ask("Hello", {}, 4);
  request.set_model("nobody");
  ChatResponse response;
  const auto unknown = Chat(*stub, request, &response);
  EXPECT_EQ(unknown.error_code(), grpc::NOT_FOUND);
  EXPECT_THAT(unknown.error_message(), HasSubstr("nobody"));
  std::string words;
  for (int i = 0; i < 5000; ++i) words += "word ";
  EXPECT_EQ(Chat(*stub, Ask(words, {}, 4), &response).error_code(), grpc::INVALID_ARGUMENT);
}

TEST(GrpcChatTest, WhatIsTooMuchIsRefusedWithATimeToRetry) {
  server::Config config = TestConfig();
  config.queue_requests = 2;
  Daemon daemon(config, std::chrono::milliseconds(5));
  const auto stub = daemon.Stub();
  grpc::ClientContext contexts[2];
  std::vector<std::unique_ptr<grpc::ClientReader<v1::ChatStreamResponse>>> readers;
  for (grpc::ClientContext& context : contexts) {
    v1::ChatStreamRequest request;
    *request.mutable_request() = Ask("Go on for long.", {}, 1000);
    readers.push_back(stub->ChatStream(&context, request));
    v1::ChatStreamResponse event;
    ASSERT_TRUE(readers.back()->Read(&event));  // it is in
  }
  ChatResponse response;
  const auto refused = Chat(*stub, Ask("Me too!", {}, 4), &response);
  EXPECT_EQ(refused.error_code(), grpc::RESOURCE_EXHAUSTED) << refused.error_message();
  EXPECT_THAT(refused.error_details(), HasSubstr("google.rpc.RetryInfo"));
  for (grpc::ClientContext& context : contexts) context.TryCancel();
  for (auto& reader : readers) EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
}

// While others are being answered: an idle device tries whatever it believes.
TEST(GrpcChatTest, ADeadlineThatCannotBeMetIsRefusedAtOnce) {
  Daemon daemon(TestConfig(), std::chrono::milliseconds(5));
  const auto stub = daemon.Stub();
  grpc::ClientContext busy, context, hopeless;
  v1::ChatStreamRequest request;
  *request.mutable_request() = Ask("Go on for long.", {}, 2000);
  const auto reader = stub->ChatStream(&busy, request);
  v1::ChatStreamResponse event;
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(reader->Read(&event));  // what a step takes is known now
  context.set_deadline(In(std::chrono::milliseconds(2000)));
  const StreamResult result = ReadStream(*stub, Ask("Go on for long.", {}, 2000), &context);
  EXPECT_EQ(result.status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_THAT(result.status.error_message(), HasSubstr("deadline"));
  hopeless.set_deadline(In(std::chrono::milliseconds(1)));
  EXPECT_EQ(ReadStream(*stub, Ask("Now.", {}, 1), &hopeless).status.error_code(),
            grpc::DEADLINE_EXCEEDED);
  busy.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
}

TEST(GrpcChatTest, AMessageOverTheLimitIsRefusedBeforeItIsRead) {
  server::Config config = TestConfig();
  config.max_message_bytes = 100'000;
  Daemon daemon(config);
  const auto stub = daemon.Stub();
  ChatRequest request = Ask("Hello", {}, 4);
  request.mutable_messages(0)->add_parts()->set_image(std::string(100'000, 'x'));
  ChatResponse response;
  const auto status = Chat(*stub, request, &response);
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("larger than max"));
  EXPECT_TRUE(Chat(*stub, Ask("Hello", {}, 4), &response).ok());
}

// What a tenant may hold is counted from the headers of the images, before any is decoded.
TEST(GrpcChatTest, PixelsAreCountedForEachTenant) {
  server::Config config = TestConfig();
  config.tenant_pixels = 100'000;
  Daemon daemon(config, std::chrono::milliseconds(5));
  const auto stub = daemon.Stub();
  const std::string image = GoldenImage("landscape.png");
  const auto stream = [&](grpc::ClientContext* context, const std::string& tenant) {
    context->AddMetadata("x-tenant", tenant);
    v1::ChatStreamRequest request;
    *request.mutable_request() = Ask("Go on.", {image}, 400);
    return stub->ChatStream(context, request);
  };
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::ChatStreamResponse>>> readers;
  v1::ChatStreamResponse event;
  grpc::Status refused;
  while (refused.ok()) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(stream(contexts.back().get(), "alice"));
    ASSERT_LT(readers.size(), 20u);
    if (!readers.back()->Read(&event)) refused = readers.back()->Finish();
  }
  EXPECT_EQ(refused.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.error_message(), HasSubstr("too many pixels"));
  EXPECT_THAT(refused.error_message(), HasSubstr("alice"));
  grpc::ClientContext bobs;
  const auto bob = stream(&bobs, "bob");
  EXPECT_TRUE(bob->Read(&event));
  bobs.TryCancel();
  for (auto& context : contexts) context->TryCancel();
}

TEST(GrpcChatTest, BeforeAModelIsLiveItSaysSo) {
  const RealClock clock;
  FakeBackend backend{Duration(0)};
  const auto app = server::App::Start(TestConfig(), &backend, &clock);
  ASSERT_TRUE(app.ok()) << app.status();
  const auto stub = v1::ChatService::NewStub(grpc::CreateChannel(
      "127.0.0.1:" + std::to_string((*app)->ports().grpc), grpc::InsecureChannelCredentials()));
  ChatResponse response;
  const auto early = Chat(*stub, Ask("Hello", {}, 4), &response);
  EXPECT_EQ(early.error_code(), grpc::FAILED_PRECONDITION) << early.error_message();
  ASSERT_TRUE((*app)->Serve().ok());
  ASSERT_TRUE((*app)->AwaitFirst().ok());
  EXPECT_TRUE(Chat(*stub, Ask("Hello", {}, 4), &response).ok());
}

TEST(GrpcChatTest, TheNumberOfMetricsDoesNotGrowWithClients) {
  Daemon daemon;
  const auto stub = daemon.Stub();
  const auto from_tenants = [&](int begin, int end) {
    for (int i = begin; i < end; ++i) {
      ChatRequest request = Ask("Hello", {}, 1);
      request.set_tenant("tenant " + std::to_string(i));
      ChatResponse response;
      EXPECT_TRUE(Chat(*stub, request, &response).ok());
      request.set_model("model " + std::to_string(i));
      EXPECT_EQ(Chat(*stub, request, &response).error_code(), grpc::NOT_FOUND);
    }
  };
  from_tenants(0, observe::kMaxTenantLabels + 1);
  const std::size_t metrics = daemon.Metrics().size();
  from_tenants(1000, 1100);
  EXPECT_EQ(daemon.Metrics().size(), metrics);
}

TEST(GrpcChatTest, ConcurrentStreamsWithImagesAnswerAsIfAlone) {
  Daemon daemon;
  const auto stub = daemon.Stub();
  const std::vector<std::string> names = {"landscape.png", "portrait.jpg", "rgba.png", "gray.png"};
  constexpr int kStreams = 64;
  std::vector<ChatRequest> requests;
  std::vector<std::string> alone;
  for (int i = 0; i < kStreams; ++i) {
    requests.push_back(Ask("Question " + std::to_string(i % 8),
                           {GoldenImage(names[static_cast<std::size_t>(i) % names.size()])}, 24));
    ChatResponse response;
    ASSERT_TRUE(Chat(*stub, requests.back(), &response).ok());
    alone.push_back(response.choices(0).text());
  }
  std::vector<StreamResult> together(kStreams);
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < kStreams; ++i) {
      threads.emplace_back([&, i] {
        grpc::ClientContext context;
        together[i] = ReadStream(*stub, requests[i], &context);
      });
    }
  }
  for (std::size_t i = 0; i < kStreams; ++i) {
    EXPECT_TRUE(together[i].status.ok()) << together[i].status.error_message();
    EXPECT_EQ(together[i].text, alone[i]);
  }
}

}  // namespace
}  // namespace llava::testing
