// Any bytes as the message of a gRPC call: looked at before they are parsed, as in the daemon, and
// then a call within its bounds or an error that names a field.
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <cstddef>
#include <cstdint>
#include <variant>

#include "base/check.h"
#include "base/field_error.h"
#include "base/utf8_stream.h"
#include "llava/v1/chat.pb.h"
#include "rpc/wire_check.h"
#include "server/api/grpc/codec.h"

namespace llava::api {
namespace {

void CheckError(const absl::Status& status) {
  LLAVA_CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  LLAVA_CHECK(!status.message().empty());
  LLAVA_CHECK(IsValidUtf8(FieldOf(status)));
}

// Every image of a message exists, with its bytes.
void CheckImages(const ChatCall& call) {
  for (const model::ChatMessage& message : call.messages) {
    for (const model::MessagePart& part : message.parts) {
      const auto* image = std::get_if<model::ImagePart>(&part);
      if (image == nullptr) continue;
      LLAVA_CHECK(image->index >= 0);
      LLAVA_CHECK(static_cast<std::size_t>(image->index) < call.images.size());
    }
  }
}

}  // namespace
}  // namespace llava::api

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace api = llava::api;
  const int bytes = static_cast<int>(size);
  google::protobuf::io::ArrayInputStream stream(data, bytes);
  const llava::rpc::WireLimits limits;
  llava::v1::ChatRequest request;
  const auto fields = llava::rpc::CheckWire(&stream, *request.descriptor(), limits);
  if (!fields.ok()) {
    api::CheckError(fields.status());
    return 0;
  }
  LLAVA_CHECK(*fields >= 0 && *fields <= limits.max_fields);
  if (!request.ParseFromArray(data, bytes)) return 0;
  const auto call = api::ToCall(request, "");
  if (!call.ok()) {
    api::CheckError(call.status());
    return 0;
  }
  api::CheckImages(*call);
  const auto weight = api::CheckCall(*call, {});
  if (!weight.ok()) {
    api::CheckError(weight.status());
    return 0;
  }
  LLAVA_CHECK(weight->bytes >= 0 && weight->pixels >= 0);
  LLAVA_CHECK(!call->messages.empty());
  LLAVA_CHECK(llava::Validate(call->sampling).ok());
  return 0;
}
