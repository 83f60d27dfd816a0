// FeedbackService over the recorder: what people say of captured answers.
#ifndef LLAVA_SERVER_API_GRPC_FEEDBACK_H_
#define LLAVA_SERVER_API_GRPC_FEEDBACK_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "rpc/call_guard.h"
#include "rpc/raw_service.h"
#include "server/capture/recorder.h"

namespace llava::api {

// Called by gRPC's own threads, whose number is bounded: each waits for the disk. What it is given
// outlives it.
class GrpcFeedback final : public rpc::RawService {
 public:
  explicit GrpcFeedback(rpc::CallGuard* guard);

  // Before the first call. Null, or not called: nothing is captured, and calls are told so.
  void Use(capture::Recorder* recorder) { recorder_ = recorder; }

 private:
  using Call = rpc::BlockingCall;

  grpc::Status Give(Call* call);
  grpc::Status GetTerms(Call* call);
  grpc::Status Forget(Call* call);

  // Checks the role, reads the message into `request`, runs `act` with the tenant, and sends
  // `response`.
  template <typename Request>
  grpc::Status Answer(Call* call, Request* request, google::protobuf::Message* response,
                      const std::function<absl::Status(const std::string& tenant)>& act);

  rpc::CallGuard* const guard_;
  capture::Recorder* recorder_ = nullptr;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_GRPC_FEEDBACK_H_
