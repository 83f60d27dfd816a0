// ChatService on a real socket, over a real engine with a fake executor.
#include "server/api/grpc/chat.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "llava/v1/chat.grpc.pb.h"
#include "rpc/grpc_server.h"
#include "tests/unit/server/chat/chat_runner_fixture.h"

namespace llava::api {
namespace {

using ::testing::StartsWith;

// alice may chat with the token "a", root administrates with "r".
class GrpcChatTest : public ChatRunnerFixture {
 protected:
  GrpcChatTest()
      : auth_(*rpc::Auth::FromText(absl::StrCat("alice chat sha256:", Sha256Of("a").Hex(),
                                                "\nroot admin sha256:", Sha256Of("r").Hex(), "\n"),
                                   "tokens")) {
    rpc::GrpcOptions options;
    options.listen = "127.0.0.1:0";
    server_ = *rpc::GrpcServer::Start(options, {&service_}, &guard_);
    stub_ = v1::ChatService::NewStub(grpc::CreateChannel(
        absl::StrCat("127.0.0.1:", server_->port()), grpc::InsecureChannelCredentials()));
  }
  ~GrpcChatTest() override {
    server_.reset();  // no call is left
    io_.Stop();
  }

  // An answer of five tokens.
  static v1::ChatRequest Question() {
    v1::ChatRequest request;
    v1::ChatMessage* message = request.add_messages();
    message->set_role(v1::ROLE_USER);
    message->add_parts()->set_text("Hello");
    request.mutable_sampling()->set_max_tokens(5);
    request.mutable_sampling()->set_ignore_eos(true);
    return request;
  }

  static void Identify(grpc::ClientContext* context, const std::string& token) {
    if (!token.empty()) context->AddMetadata("authorization", "Bearer " + token);
  }
  grpc::Status Chat(const v1::ChatRequest& request, v1::ChatResponse* response,
                    const std::string& token = "a") {
    grpc::ClientContext context;
    Identify(&context, token);
    return stub_->Chat(&context, request, response);
  }
  // All events of a stream.
  grpc::Status Stream(const v1::ChatRequest& question,
                      std::vector<v1::ChatStreamResponse>* events) {
    grpc::ClientContext context;
    Identify(&context, "a");
    v1::ChatStreamRequest request;
    *request.mutable_request() = question;
    const auto reader = stub_->ChatStream(&context, request);
    for (v1::ChatStreamResponse event; reader->Read(&event);) events->push_back(event);
    return reader->Finish();
  }
  grpc::Status Score(const v1::ScoreRequest& request, v1::ScoreResponse* response) {
    grpc::ClientContext context;
    Identify(&context, "a");
    return stub_->Score(&context, request, response);
  }

  const rpc::Auth auth_;
  rpc::CallGuard guard_{&auth_};
  IoPool io_{2};
  GrpcChat service_{&runner_, &io_, &guard_};
  std::unique_ptr<rpc::GrpcServer> server_;
  std::unique_ptr<v1::ChatService::Stub> stub_;
};

TEST_F(GrpcChatTest, AnAnswerComesAsAWhole) {
  v1::ChatResponse first, again;
  const grpc::Status status = Chat(Question(), &first);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(first.model(), "llava");
  EXPECT_EQ(first.model_version(), kVersion.Hex());
  ASSERT_EQ(first.choices_size(), 1);
  EXPECT_FALSE(first.choices(0).text().empty());
  EXPECT_EQ(first.usage().generated_tokens(), 5);
  EXPECT_GT(first.usage().prompt_tokens(), 1);
  ASSERT_TRUE(Chat(Question(), &again).ok());
  EXPECT_EQ(again.choices(0).text(), first.choices(0).text());  // greedy
}

TEST_F(GrpcChatTest, EachOfSeveralAnswersHasItsIndex) {
  v1::ChatRequest request = Question();
  request.set_n(3);
  v1::ChatResponse response;
  ASSERT_TRUE(Chat(request, &response).ok());
  ASSERT_EQ(response.choices_size(), 3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(response.choices(i).index(), i);
  EXPECT_EQ(response.usage().generated_tokens(), 15);
}

TEST_F(GrpcChatTest, AStreamSaysTheSameInPieces) {
  v1::ChatResponse whole;
  ASSERT_TRUE(Chat(Question(), &whole).ok());
  std::vector<v1::ChatStreamResponse> events;
  const grpc::Status status = Stream(Question(), &events);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_GE(events.size(), 2u);
  std::string text;
  for (const v1::ChatStreamResponse& event : events) {
    EXPECT_EQ(event.model(), "llava");
    EXPECT_EQ(event.model_version(), kVersion.Hex());
    EXPECT_EQ(event.has_usage(), &event == &events.back());
    text += event.text_delta();
  }
  EXPECT_EQ(text, whole.choices(0).text());
  EXPECT_EQ(events.back().usage().generated_tokens(), 5);
}

TEST_F(GrpcChatTest, WhatIsWrongIsNamedByItsPathInTheMessage) {
  v1::ChatRequest request = Question();
  request.mutable_sampling()->set_top_p(2);
  v1::ChatResponse response;
  grpc::Status status = Chat(request, &response);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), StartsWith("sampling.top_p: "));
  std::vector<v1::ChatStreamResponse> events;
  status = Stream(request, &events);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), StartsWith("request.sampling.top_p: "));
  EXPECT_TRUE(events.empty());
  request = Question();
  request.set_model("other");
  EXPECT_EQ(Chat(request, &response).error_code(), grpc::NOT_FOUND);
}

TEST_F(GrpcChatTest, WhatIsToBeScoredIsCheckedBeforeItIsComputed) {
  v1::ScoreRequest request;
  v1::ChatMessage* message = request.mutable_request()->add_messages();
  message->set_role(v1::ROLE_USER);
  message->add_parts()->set_text("Hello");
  v1::ScoreResponse response;
  EXPECT_EQ(Score(request, &response).error_code(), grpc::INVALID_ARGUMENT);  // no choices
  request.add_choices("red");
  request.mutable_request()->set_model("other");
  EXPECT_EQ(Score(request, &response).error_code(), grpc::NOT_FOUND);
}

TEST_F(GrpcChatTest, OnlyTokensForChatMayAsk) {
  v1::ChatResponse response;
  EXPECT_EQ(Chat(Question(), &response, "").error_code(), grpc::UNAUTHENTICATED);
  EXPECT_EQ(Chat(Question(), &response, "guess").error_code(), grpc::UNAUTHENTICATED);
  EXPECT_EQ(Chat(Question(), &response, "r").error_code(), grpc::PERMISSION_DENIED);
}

// The engine, the admission and the message's share are free for whoever comes next.
TEST_F(GrpcChatTest, AClientThatGoesEndsItsAnswer) {
  v1::ChatStreamRequest request;
  *request.mutable_request() = Question();
  request.mutable_request()->mutable_sampling()->set_max_tokens(200);
  grpc::ClientContext context;
  Identify(&context, "a");
  const auto reader = stub_->ChatStream(&context, request);
  v1::ChatStreamResponse event;
  ASSERT_TRUE(reader->Read(&event));
  context.TryCancel();
  while (reader->Read(&event)) continue;
  (void)reader->Finish();  // all may have come before
  while (admission_.held().requests > 0) std::this_thread::yield();
  v1::ChatResponse response;
  EXPECT_TRUE(Chat(Question(), &response).ok());
}

TEST_F(GrpcChatTest, WhileDrainingNothingIsAnswered) {
  runner_.Drain();
  v1::ChatResponse response;
  EXPECT_EQ(Chat(Question(), &response).error_code(), grpc::UNAVAILABLE);
  std::vector<v1::ChatStreamResponse> events;
  EXPECT_EQ(Stream(Question(), &events).error_code(), grpc::UNAVAILABLE);
}

}  // namespace
}  // namespace llava::api
