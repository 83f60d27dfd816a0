#include "rpc/call_guard.h"

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <malloc.h>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace llava::rpc {
namespace {

// A message this large leaves so much freed memory in malloc's arenas that it is worth the
// milliseconds that giving it back to the system takes.
constexpr std::int64_t kWorthTrimming = std::int64_t{4} << 20;

}  // namespace

absl::StatusOr<Caller> CallGuard::Authenticate(const grpc::ServerContextBase& context,
                                               Role role) const {
  return Told(context, auth_->Check(MetadataOf(context, "authorization"), role));
}

absl::StatusOr<Caller> CallGuard::AuthenticateAny(const grpc::ServerContextBase& context) const {
  return Told(context, auth_->CheckAny(MetadataOf(context, "authorization")));
}

absl::StatusOr<Caller> CallGuard::Told(const grpc::ServerContextBase& context,
                                       absl::StatusOr<Caller> caller) const {
  if (caller.ok() && tell_ != nullptr) tell_(context.peer());
  return caller;
}

absl::Status CallGuard::Parse(grpc::ByteBuffer* bytes, google::protobuf::Message* message,
                              Share* share) {
  const absl::Cleanup free_bytes = [bytes] { bytes->Clear(); };
  Share taken(this);
  RETURN_IF_ERROR(Charge(static_cast<std::int64_t>(bytes->Length()), &taken));
  grpc::ProtoBufferReader raw(bytes);
  ASSIGN_OR_RETURN(const std::int64_t fields,
                   CheckWire(&raw, *message->GetDescriptor(), limits_.wire));
  RETURN_IF_ERROR(Charge(fields * kBytesOfField, &taken));
  grpc::ProtoBufferReader reader(bytes);
  if (!message->ParseFromZeroCopyStream(&reader)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the request cannot be read: expected a serialized ",
                     message->GetDescriptor()->full_name(), ", with UTF-8 in each text"));
  }
  *share = std::move(taken);
  return absl::OkStatus();
}

absl::Status CallGuard::Charge(std::int64_t bytes, Share* share) {
  share->bytes_ += bytes;
  if (parsing_bytes_.fetch_add(bytes) + bytes <= limits_.max_parsing_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("messages of ", limits_.max_parsing_bytes,
                                                   " bytes are being read, the most there may be"));
}

void CallGuard::Release(std::int64_t bytes) {
  const std::int64_t left = parsing_bytes_.fetch_sub(bytes) - bytes;
  // Only when the last large message has gone: one trim after a burst, not one a message.
  if (bytes >= kWorthTrimming && left < kWorthTrimming) malloc_trim(0);
}

std::string MetadataOf(const grpc::ServerContextBase& context, const std::string& key) {
  const auto& all = context.client_metadata();
  const auto found = all.find(key);
  if (found == all.end()) return "";
  return std::string(found->second.data(), found->second.size());
}

grpc::ByteBuffer ToBytes(const google::protobuf::Message& message) {
  grpc::ByteBuffer bytes;
  bool own = false;
  const grpc::Status status =
      grpc::SerializationTraits<google::protobuf::Message>::Serialize(message, &bytes, &own);
  LLAVA_CHECK(status.ok());
  return bytes;
}

}  // namespace llava::rpc
