#include "server/api/grpc/error_details.h"

#include <google/protobuf/any.pb.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <chrono>
#include <string>

#include "base/field_error.h"
#include "server/scheduling/admission.h"

namespace llava::api {
namespace {

using google::protobuf::io::CodedOutputStream;
using google::protobuf::io::StringOutputStream;

constexpr std::uint32_t kVarint = 0;
constexpr std::uint32_t kBytes = 2;

std::uint32_t Tag(std::uint32_t number, std::uint32_t wire_type) { return number << 3 | wire_type; }

// A field that holds a string or an encoded message.
std::string Field(std::uint32_t number, const std::string& value) {
  std::string out;
  {
    StringOutputStream stream(&out);
    CodedOutputStream coded(&stream);
    coded.WriteTag(Tag(number, kBytes));
    coded.WriteVarint32(static_cast<std::uint32_t>(value.size()));
    coded.WriteString(value);
  }
  return out;
}

std::string Field(std::uint32_t number, std::uint32_t value) {
  std::string out;
  {
    StringOutputStream stream(&out);
    CodedOutputStream coded(&stream);
    coded.WriteTag(Tag(number, kVarint));
    coded.WriteVarint32(value);
  }
  return out;
}

std::string Packed(const std::string& type, const std::string& value) {
  google::protobuf::Any any;
  any.set_type_url("type.googleapis.com/" + type);
  any.set_value(value);
  return any.SerializeAsString();
}

// RetryInfo { Duration retry_delay = 1; }
std::string RetryInfo(Duration delay) {
  google::protobuf::Duration duration;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(delay);
  duration.set_seconds(seconds.count());
  duration.set_nanos(static_cast<std::int32_t>((delay - seconds).count()));
  return Packed("google.rpc.RetryInfo", Field(1, duration.SerializeAsString()));
}

// BadRequest { repeated FieldViolation field_violations = 1; }
// FieldViolation { string field = 1; string description = 2; }
std::string BadRequest(const std::string& field, const std::string& description) {
  return Packed("google.rpc.BadRequest", Field(1, Field(1, field) + Field(2, description)));
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message = MessageOf(status);
  std::string details;
  if (const auto delay = scheduling::RetryAfter(status)) details += Field(3, RetryInfo(*delay));
  const std::string field = FieldOf(status);
  if (!field.empty()) details += Field(3, BadRequest(field, message));
  const auto code = static_cast<grpc::StatusCode>(status.code());
  if (details.empty()) return grpc::Status(code, message);
  // Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  return grpc::Status(
      code, message,
      Field(1, static_cast<std::uint32_t>(status.code())) + Field(2, message) + details);
}

}  // namespace llava::api
