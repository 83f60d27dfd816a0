#include "rpc/wire_check.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace llava::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

absl::Status Malformed(const Descriptor& type) {
  return absl::InvalidArgumentError(
      absl::StrCat("the request cannot be read: expected a serialized ", type.full_name()));
}

class WireScan {
 public:
  WireScan(CodedInputStream* in, const WireLimits& limits) : in_(in), limits_(limits) {}

  // Reads a message to the innermost limit of the stream.
  absl::Status Message(const Descriptor& type, int depth) {
    if (depth > limits_.max_depth) {
      return absl::InvalidArgumentError(absl::StrCat(
          type.full_name(), ": messages within messages, expected at most ", limits_.max_depth));
    }
    while (const std::uint32_t tag = in_->ReadTag()) {
      RETURN_IF_ERROR(Count(1));
      RETURN_IF_ERROR(Field(type, tag, depth));
    }
    return in_->ConsumedEntireMessage() ? absl::OkStatus() : Malformed(type);
  }

  std::int64_t fields() const { return fields_; }

 private:
  absl::Status Count(std::int64_t fields) {
    fields_ += fields;
    if (fields_ <= limits_.max_fields) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("the request has more than ", limits_.max_fields,
                     " fields, messages and elements, which is the most there may be"));
  }

  absl::Status Field(const Descriptor& type, std::uint32_t tag, int depth) {
    const auto wire = WireFormatLite::GetTagWireType(tag);
    const FieldDescriptor* field = type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    if (wire != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) return Scalar(type, tag, wire);
    std::uint32_t length = 0;
    if (!in_->ReadVarint32(&length) || length > INT32_MAX) return Malformed(type);
    if (field != nullptr && field->message_type() != nullptr) {
      const auto outer = in_->PushLimit(static_cast<int>(length));
      // A message that claims more than what holds it ends with that, short of its own length.
      if (in_->BytesUntilLimit() < static_cast<int>(length)) return Malformed(type);
      RETURN_IF_ERROR(Message(*field->message_type(), depth + 1));
      in_->PopLimit(outer);
      return absl::OkStatus();
    }
    // An element of a packed field takes at least one byte.
    if (field != nullptr && field->is_packable()) RETURN_IF_ERROR(Count(length));
    return in_->Skip(static_cast<int>(length)) ? absl::OkStatus() : Malformed(type);
  }

  absl::Status Scalar(const Descriptor& type, std::uint32_t tag, WireFormatLite::WireType wire) {
    const bool group =
        wire == WireFormatLite::WIRETYPE_START_GROUP || wire == WireFormatLite::WIRETYPE_END_GROUP;
    if (group || !WireFormatLite::SkipField(in_, tag)) return Malformed(type);
    return absl::OkStatus();
  }

  CodedInputStream* const in_;
  const WireLimits& limits_;
  std::int64_t fields_ = 0;
};

}  // namespace

absl::StatusOr<std::int64_t> CheckWire(google::protobuf::io::ZeroCopyInputStream* bytes,
                                       const google::protobuf::Descriptor& type,
                                       const WireLimits& limits) {
  CodedInputStream in(bytes);
  WireScan scan(&in, limits);
  RETURN_IF_ERROR(scan.Message(type, 0));
  return scan.fields();
}

}  // namespace llava::rpc
