#include "server/api/grpc/metadata.h"

#include <chrono>
#include <utility>

#include "base/field_error.h"
#include "base/status_macros.h"
#include "server/chat/api_error.h"
#include "server/chat/request_id.h"

namespace llava::api {
namespace {

constexpr auto kFarAway = std::chrono::hours(24);

// gRPC counts deadlines on the system clock; requests on a steady one.
std::optional<TimePoint> Deadline(const grpc::CallbackServerContext& context, const Clock& clock) {
  const auto since_1970 =
      std::chrono::duration_cast<std::chrono::milliseconds>(context.deadline().time_since_epoch());
  const auto left = since_1970 - std::chrono::milliseconds(clock.UnixMillis());
  if (left > kFarAway) return std::nullopt;
  return clock.Now() + left;
}

}  // namespace

absl::StatusOr<CallHead> ReadHead(grpc::CallbackServerContext* context, const rpc::CallGuard& guard,
                                  rpc::Role role, const Clock& clock) {
  CallHead head;
  head.arrival = clock.Now();
  head.deadline = Deadline(*context, clock);
  head.request_id = RequestIdOr(rpc::MetadataOf(*context, "x-request-id"));
  head.traceparent = rpc::MetadataOf(*context, "traceparent");
  context->AddInitialMetadata("x-request-id", head.request_id);
  ASSIGN_OR_RETURN(head.caller, guard.Authenticate(*context, role));
  head.tenant = rpc::MetadataOf(*context, "x-tenant");
  return head;
}

absl::Status Complete(CallHead head, absl::string_view field, ChatCall* call) {
  const bool in_message = !call->tenant.empty();
  auto tenant = rpc::TenantOf(head.caller, in_message ? call->tenant : head.tenant);
  if (absl::IsInvalidArgument(tenant.status())) {
    return FieldError(in_message ? field : "x-tenant", tenant.status().message());
  }
  RETURN_IF_ERROR(tenant.status());
  call->tenant = *std::move(tenant);
  call->arrival = head.arrival;
  call->deadline = head.deadline;
  call->request_id = std::move(head.request_id);
  call->traceparent = std::move(head.traceparent);
  return absl::OkStatus();
}

}  // namespace llava::api
