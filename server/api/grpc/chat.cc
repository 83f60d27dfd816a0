#include "server/api/grpc/chat.h"

#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "llava/v1/chat.pb.h"
#include "server/api/grpc/call_driver.h"
#include "server/api/grpc/codec.h"
#include "server/api/grpc/error_details.h"
#include "server/api/grpc/metadata.h"
#include "server/scheduling/admission.h"

namespace llava::api {
namespace {

using llava::v1::ChatRequest;
using llava::v1::ChatResponse;
using llava::v1::ChatStreamRequest;
using llava::v1::ChatStreamResponse;
using llava::v1::ScoreRequest;
using llava::v1::ScoreResponse;

struct Edge {
  ChatRunner* runner;
  IoPool* io;
  rpc::CallGuard* guard;
};

const ChatRequest& RequestOf(const ChatRequest& request) { return request; }
const ChatRequest& RequestOf(const ChatStreamRequest& request) { return request.request(); }

const ChatRequest& RequestOf(const ScoreRequest& request) { return request.request(); }

absl::StatusOr<ChatCall> CallOf(const ChatRequest& request) { return ToCall(request, ""); }
absl::StatusOr<ChatCall> CallOf(const ChatStreamRequest& request) {
  return ToCall(request.request(), "request.");
}
absl::StatusOr<ChatCall> CallOf(const ScoreRequest& request) { return ToScoreCall(request); }

// One call: its token, its message, then its answer. `Request` is ChatRequest, ChatStreamRequest or
// ScoreRequest. Deletes itself when gRPC is done with it.
template <typename Request>
class Reactor : public rpc::RawReactor, protected CallDriver {
 protected:
  // `prefix`: what stands before a path of ChatRequest in the message.
  Reactor(const Edge& edge, grpc::CallbackServerContext* context, const char* prefix)
      : CallDriver(edge.runner, edge.io), edge_(edge), prefix_(prefix) {
    head_ = ReadHead(context, *edge.guard, rpc::Role::kChat, edge.runner->clock());
    if (head_.ok()) {
      place_ =
          edge.guard->waits().Enter(head_->caller.name, head_->arrival,
                                    [this](const absl::Status& why) { Finish(ToGrpcStatus(why)); });
      StartRead(&bytes_);
    } else {
      Finish(ToGrpcStatus(head_.status()));
    }
  }

  const AnswerOptions& options() const { return options_; }

 private:
  void OnReadDone(bool ok) override {
    if (!edge_.guard->waits().Leave(place_)) return;  // which has finished the call
    absl::StatusOr<ChatCall> call = absl::InvalidArgumentError("the call has no message");
    if (ok) call = MakeCall();
    if (call.ok()) {
      Run(*std::move(call));
    } else {
      Finish(ToGrpcStatus(call.status()));
    }
  }

  absl::StatusOr<ChatCall> MakeCall() {
    const absl::Status parsed = edge_.guard->Parse(&bytes_, &message_, &share_);
    if (absl::IsResourceExhausted(parsed)) {
      return scheduling::WithRetryAfter(parsed, std::chrono::seconds(1));
    }
    RETURN_IF_ERROR(parsed);
    options_ = OptionsOf(RequestOf(message_));
    ASSIGN_OR_RETURN(ChatCall call, CallOf(message_));
    RETURN_IF_ERROR(Complete(*std::move(head_), absl::StrCat(prefix_, "tenant"), &call));
    return call;
  }

  // A message may be large and its answer long.
  void OnPrepared() override {
    message_ = Request();
    share_ = rpc::CallGuard::Share();
  }

  void OnCancel() override { Cancel(); }
  void OnDone() override { delete this; }

  const Edge edge_;
  const char* const prefix_;
  absl::StatusOr<CallHead> head_;
  rpc::MessageWaits::Place place_;  // until the message was read
  grpc::ByteBuffer bytes_;
  Request message_;  // holds the images of the call, which are read while it is prepared
  rpc::CallGuard::Share share_;
  AnswerOptions options_;
};

// Collects the whole answer.
class UnaryReactor final : public Reactor<ChatRequest> {
 public:
  UnaryReactor(const Edge& edge, grpc::CallbackServerContext* context)
      : Reactor(edge, context, "") {}

 private:
  bool OnDelta(const Answer& answer, AnswerDelta delta) override {
    while (response_.choices_size() <= delta.choice) {
      response_.add_choices()->set_index(response_.choices_size() - 1);
    }
    AppendDelta(delta, options(), answer.model().processor->tokenizer(), &response_);
    return true;
  }

  void OnEnd(const Answer* answer, const engine::End& end) override {
    if (answer == nullptr || !end.status.ok()) return Finish(ToGrpcStatus(end.status));
    response_.set_model(answer->model().name);
    response_.set_model_version(answer->model().version);
    FillUsage(end, answer->prepare_time(), answer->images(), response_.mutable_usage());
    sent_ = rpc::ToBytes(response_);
    StartWriteAndFinish(&sent_, grpc::WriteOptions(), grpc::Status::OK);
  }

  ChatResponse response_;
  grpc::ByteBuffer sent_;
};

// Collects how likely the given answers are.
class ScoreReactor final : public Reactor<ScoreRequest> {
 public:
  ScoreReactor(const Edge& edge, grpc::CallbackServerContext* context)
      : Reactor(edge, context, "request.") {}

 private:
  bool OnDelta(const Answer& answer, AnswerDelta delta) override {
    if (!scores_.has_value()) scores_.emplace(answer.scored_tokens());
    scores_->Add(delta);
    return true;
  }

  void OnEnd(const Answer* answer, const engine::End& end) override {
    absl::Status status = end.status;
    if (status.ok()) status = scores_->Check();
    if (answer == nullptr || !status.ok()) return Finish(ToGrpcStatus(status));
    ScoreResponse response;
    response.set_model(answer->model().name);
    response.set_model_version(answer->model().version);
    FillScores(*scores_, answer->model().processor->tokenizer(), &response);
    FillUsage(end, answer->prepare_time(), answer->images(), response.mutable_usage());
    sent_ = rpc::ToBytes(response);
    StartWriteAndFinish(&sent_, grpc::WriteOptions(), grpc::Status::OK);
  }

  std::optional<Scores> scores_;  // from the first delta on
  grpc::ByteBuffer sent_;
};

// Sends the answer as it comes, one write at a time.
class StreamReactor final : public Reactor<ChatStreamRequest> {
 public:
  StreamReactor(const Edge& edge, grpc::CallbackServerContext* context)
      : Reactor(edge, context, "request.") {}

 private:
  bool OnDelta(const Answer& answer, AnswerDelta delta) override {
    if (broken_) return true;  // nobody listens: only the end still matters
    event_.Clear();
    Name(answer);
    FillDelta(delta, options(), answer.model().processor->tokenizer(), &event_);
    sent_ = rpc::ToBytes(event_);
    StartWrite(&sent_);
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
    sent_ = rpc::ToBytes(event_);
    StartWriteAndFinish(&sent_, grpc::WriteOptions(), grpc::Status::OK);
  }

  void Name(const Answer& answer) {
    event_.set_model(answer.model().name);
    event_.set_model_version(answer.model().version);
  }

  ChatStreamResponse event_;
  grpc::ByteBuffer sent_;
  bool broken_ = false;  // touched by OnWriteDone and by the pump, never at the same time
};

}  // namespace

GrpcChat::GrpcChat(ChatRunner* runner, IoPool* io, rpc::CallGuard* guard) {
  const Edge edge{runner, io, guard};
  AddMethod("/llava.v1.ChatService/Chat", [edge](grpc::CallbackServerContext* context) {
    return new UnaryReactor(edge, context);
  });
  AddMethod("/llava.v1.ChatService/ChatStream", [edge](grpc::CallbackServerContext* context) {
    return new StreamReactor(edge, context);
  });
  AddMethod("/llava.v1.ChatService/Score", [edge](grpc::CallbackServerContext* context) {
    return new ScoreReactor(edge, context);
  });
}

}  // namespace llava::api
