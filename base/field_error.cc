#include "base/field_error.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "base/utf8_stream.h"

namespace llava {
namespace {
constexpr absl::string_view kFieldPayload = "llava/field";
constexpr absl::string_view kCut = "...";
constexpr std::size_t kMaxShownBytes = 100;

// So many bytes at the most, up to the last whole character.
absl::string_view Beginning(absl::string_view text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return text.substr(0, bytes);
}
}  // namespace

absl::Status FieldError(absl::string_view field, absl::string_view message) {
  return WithField(absl::InvalidArgumentError(absl::StrCat(field, ": ", message)), field);
}

absl::Status WithField(absl::Status status, absl::string_view field) {
  if (!status.ok()) status.SetPayload(kFieldPayload, absl::Cord(field));
  return status;
}

std::string MessageOf(const absl::Status& status) {
  const absl::string_view message = status.message();
  std::string text = Utf8Repair(StdView(message.substr(0, kMaxMessageBytes + 1)));
  if (text.size() <= kMaxMessageBytes) return text;
  return absl::StrCat(Beginning(text, kMaxMessageBytes - kCut.size()), kCut);
}

std::string Shortened(absl::string_view text) {
  if (text.size() <= kMaxShownBytes) return Utf8Repair(StdView(text));
  return absl::StrCat(Utf8Repair(StdView(Beginning(text, kMaxShownBytes))), kCut, " (", text.size(),
                      " bytes)");
}

std::string FieldOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kFieldPayload);
  return payload.has_value() ? Utf8Repair(std::string(*payload)) : "";
}

absl::Status UnderField(absl::string_view prefix, const absl::Status& status) {
  const std::string field = FieldOf(status);
  if (field.empty()) return status;
  absl::Status whole(status.code(), absl::StrCat(prefix, status.message()));
  status.ForEachPayload([&whole](absl::string_view url, const absl::Cord& payload) {
    whole.SetPayload(url, payload);
  });
  return WithField(std::move(whole), absl::StrCat(prefix, field));
}

}  // namespace llava
