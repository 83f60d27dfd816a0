#include "server/api/grpc/chat.h"

#include <utility>

#include "server/api/grpc/call_driver.h"
#include "server/api/grpc/codec.h"
#include "server/api/grpc/error_details.h"
#include "server/api/grpc/metadata.h"

namespace llava::api {
namespace {

using llava::v1::ChatRequest;
using llava::v1::ChatResponse;
using llava::v1::ChatStreamRequest;
using llava::v1::ChatStreamResponse;

struct Edge {
  ChatRunner* runner;
  IoPool* io;
  const rpc::Auth* auth;
};

absl::StatusOr<ChatCall> MakeCall(const Edge& edge, grpc::CallbackServerContext* context,
                                  const ChatRequest& request, absl::string_view prefix) {
  ChatCall identity;
  identity.tenant = request.tenant();
  const absl::Status known =
      Identify(context, *edge.auth, rpc::Role::kChat, edge.runner->clock(), &identity);
  if (!known.ok()) return known;
  auto call = ToCall(request, prefix);
  if (!call.ok()) return call;
  call->arrival = identity.arrival;
  call->deadline = identity.deadline;
  call->request_id = identity.request_id;
  call->tenant = identity.tenant;
  return call;
}

// Collects the whole answer. Deletes itself when gRPC is done with it.
class UnaryReactor final : public grpc::ServerUnaryReactor, private CallDriver {
 public:
  UnaryReactor(const Edge& edge, grpc::CallbackServerContext* context, const ChatRequest* request,
               ChatResponse* response)
      : CallDriver(edge.runner, edge.io), options_(OptionsOf(*request)), response_(response) {
    auto call = MakeCall(edge, context, *request, "");
    if (call.ok()) {
      Run(*std::move(call));
    } else {
      Finish(ToGrpcStatus(call.status()));
    }
  }

 private:
  bool OnDelta(const Answer& answer, engine::Delta delta) override {
    while (response_->choices_size() <= delta.choice) {
      response_->add_choices()->set_index(response_->choices_size() - 1);
    }
    AppendDelta(delta, options_, answer.model().processor->tokenizer(), response_);
    return true;
  }

  void OnEnd(const Answer* answer, const engine::End& end) override {
    if (answer != nullptr && end.status.ok()) {
      response_->set_model(answer->model().name);
      response_->set_model_version(answer->model().version);
      FillUsage(end, answer->prepare_time(), answer->images(), response_->mutable_usage());
    }
    Finish(ToGrpcStatus(end.status));
  }

  void OnCancel() override { Cancel(); }
  void OnDone() override { delete this; }

  const AnswerOptions options_;
  ChatResponse* const response_;
};

// Sends the answer as it comes, one write at a time. Deletes itself when gRPC is done with it.
class StreamReactor final : public grpc::ServerWriteReactor<ChatStreamResponse>,
                            private CallDriver {
 public:
  StreamReactor(const Edge& edge, grpc::CallbackServerContext* context,
                const ChatStreamRequest* request)
      : CallDriver(edge.runner, edge.io), options_(OptionsOf(request->request())) {
    auto call = MakeCall(edge, context, request->request(), "request.");
    if (call.ok()) {
      Run(*std::move(call));
    } else {
      Finish(ToGrpcStatus(call.status()));
    }
  }

 private:
  bool OnDelta(const Answer& answer, engine::Delta delta) override {
    if (broken_) return true;  // nobody listens: only the end still matters
    event_.Clear();
    Name(answer);
    FillDelta(delta, options_, answer.model().processor->tokenizer(), &event_);
    StartWrite(&event_);
    return false;
  }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      broken_ = true;
      Cancel();
    }
    Resume();
  }

  void OnEnd(const Answer* answer, const engine::End& end) override {
    if (answer == nullptr || broken_ || !end.status.ok()) return Finish(ToGrpcStatus(end.status));
    event_.Clear();
    Name(*answer);
    FillUsage(end, answer->prepare_time(), answer->images(), event_.mutable_usage());
    StartWriteAndFinish(&event_, grpc::WriteOptions(), grpc::Status::OK);
  }

  void OnCancel() override { Cancel(); }
  void OnDone() override { delete this; }

  void Name(const Answer& answer) {
    event_.set_model(answer.model().name);
    event_.set_model_version(answer.model().version);
  }

  const AnswerOptions options_;
  ChatStreamResponse event_;
  bool broken_ = false;  // touched by OnWriteDone and by the pump, never at the same time
};

}  // namespace

grpc::ServerUnaryReactor* GrpcChat::Chat(grpc::CallbackServerContext* context,
                                         const ChatRequest* request, ChatResponse* response) {
  return new UnaryReactor({runner_, io_, auth_}, context, request, response);
}

grpc::ServerWriteReactor<ChatStreamResponse>* GrpcChat::ChatStream(
    grpc::CallbackServerContext* context, const ChatStreamRequest* request) {
  return new StreamReactor({runner_, io_, auth_}, context, request);
}

}  // namespace llava::api
