#include "server/api/grpc/metadata.h"

#include <chrono>

#include "base/status_macros.h"
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

std::string Metadata(const grpc::CallbackServerContext& context, const std::string& key) {
  const auto& all = context.client_metadata();
  const auto found = all.find(key);
  if (found == all.end()) return "";
  return std::string(found->second.data(), found->second.size());
}

absl::Status Identify(grpc::CallbackServerContext* context, const rpc::Auth& auth, rpc::Role role,
                      const Clock& clock, ChatCall* call) {
  call->arrival = clock.Now();
  call->deadline = Deadline(*context, clock);
  call->request_id = RequestIdOr(Metadata(*context, "x-request-id"));
  context->AddInitialMetadata("x-request-id", call->request_id);
  ASSIGN_OR_RETURN(const std::string name, auth.Check(Metadata(*context, "authorization"), role));
  if (call->tenant.empty()) call->tenant = Metadata(*context, "x-tenant");
  if (call->tenant.empty()) call->tenant = name;
  return absl::OkStatus();
}

}  // namespace llava::api
