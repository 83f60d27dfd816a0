#include "server/api/grpc/feedback.h"

#include <chrono>
#include <utility>

#include "base/field_error.h"
#include "base/status_macros.h"
#include "llava/v1/feedback.pb.h"
#include "server/api/grpc/awaited.h"
#include "server/api/grpc/error_details.h"
#include "server/chat/feedback.h"

namespace llava::api {
namespace {

absl::StatusOr<capture::Thumb> ThumbOf(v1::Verdict verdict) {
  if (verdict == v1::VERDICT_UP) return capture::Thumb::kUp;
  if (verdict == v1::VERDICT_DOWN) return capture::Thumb::kDown;
  if (verdict == v1::VERDICT_NONE) return capture::Thumb::kNone;
  return FieldError("verdict", "expected VERDICT_UP, VERDICT_DOWN or VERDICT_NONE");
}

}  // namespace

GrpcFeedback::GrpcFeedback(rpc::CallGuard* guard) : guard_(guard) {
  AddBlockingMethod("/llava.v1.FeedbackService/Give", [this](Call* call) { return Give(call); });
  AddBlockingMethod("/llava.v1.FeedbackService/GetTerms",
                    [this](Call* call) { return GetTerms(call); });
  AddBlockingMethod("/llava.v1.FeedbackService/Forget",
                    [this](Call* call) { return Forget(call); });
}

template <typename Request>
grpc::Status GrpcFeedback::Answer(
    Call* call, Request* request, google::protobuf::Message* response,
    const std::function<absl::Status(const std::string& tenant)>& act) {
  const auto caller = guard_->Authenticate(call->context(), rpc::Role::kChat);
  if (!caller.ok()) return ToGrpcStatus(caller.status());
  absl::Status status = call->Read(caller->name, guard_, request);
  if (!status.ok()) return ToGrpcStatus(status);
  const std::string asked =
      request->tenant().empty() ? rpc::MetadataOf(call->context(), "x-tenant") : request->tenant();
  const auto tenant = rpc::TenantOf(*caller, asked);
  if (!tenant.ok()) return ToGrpcStatus(tenant.status());
  status = WithTimeToRetry(act(NamedTenant(*tenant)));
  if (status.ok()) call->Write(*response);
  return ToGrpcStatus(status);
}

grpc::Status GrpcFeedback::Give(Call* call) {
  v1::GiveRequest request;
  v1::GiveResponse response;
  return Answer(call, &request, &response, [&](const std::string& tenant) -> absl::Status {
    if (recorder_ == nullptr) return NothingIsCaptured();
    capture::Verdict verdict;
    ASSIGN_OR_RETURN(verdict.thumb, ThumbOf(request.verdict()));
    verdict.correction = request.correction();
    ASSIGN_OR_RETURN(const std::string id, AnswerOf(request.id()));
    Awaited<absl::Status> judged;
    recorder_->Judge(tenant, id, std::move(verdict),
                     [&judged](absl::Status status) { judged.Set(std::move(status)); });
    return judged.Wait();
  });
}

grpc::Status GrpcFeedback::GetTerms(Call* call) {
  v1::GetTermsRequest request;
  v1::GetTermsResponse response;
  return Answer(call, &request, &response, [&](const std::string& tenant) {
    if (recorder_ == nullptr) return absl::OkStatus();  // then nothing of anybody is kept
    const capture::Agreement agreement = recorder_->AgreedBy(tenant);
    if (agreement == capture::Agreement::kNothing) return absl::OkStatus();
    response.set_texts(true);
    response.set_pictures(agreement == capture::Agreement::kPictures);
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(recorder_->retention());
    response.mutable_retention()->set_seconds(seconds.count());
    return absl::OkStatus();
  });
}

grpc::Status GrpcFeedback::Forget(Call* call) {
  v1::ForgetRequest request;
  v1::ForgetResponse response;
  return Answer(call, &request, &response, [&](const std::string& tenant) -> absl::Status {
    if (recorder_ == nullptr) return NothingIsCaptured();
    ASSIGN_OR_RETURN(const std::string id, AnswerOf(request.id()));
    Awaited<absl::StatusOr<capture::Removed>> done;
    recorder_->Remove(tenant, id, [&done](absl::StatusOr<capture::Removed> removed) {
      done.Set(std::move(removed));
    });
    ASSIGN_OR_RETURN(const capture::Removed removed, done.Wait());
    response.set_rows_deleted(removed.deleted);
    response.set_rows_kept(removed.kept);
    for (const std::string& version : removed.versions) response.add_versions(version);
    response.set_runs(std::ssize(removed.runs));
    return absl::OkStatus();
  });
}

}  // namespace llava::api
