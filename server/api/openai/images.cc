#include "server/api/openai/images.h"

#include <set>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "server/chat/api_error.h"

namespace llava::api {
namespace {

std::string Shown(absl::string_view text) { return Utf8Repair(std::string(text.substr(0, 64))); }

// "data:image/png;base64,...."
absl::Status ReadDataUri(absl::string_view uri, std::size_t image, OpenAiRequest* request) {
  CallImage& target = request->call.images[image];
  constexpr absl::string_view kMarker = ";base64,";
  const std::size_t marker = uri.substr(0, 128).find(kMarker);
  if (marker == uri.npos) return FieldError(target.field, "expected ;base64, in the data: URI");
  std::string bytes;
  if (!absl::Base64Unescape(uri.substr(marker + kMarker.size()), &bytes)) {
    return FieldError(target.field, "expected base64 after the comma");
  }
  request->image_bytes.push_back(std::move(bytes));
  target.bytes = request->image_bytes.back();
  return absl::OkStatus();
}

absl::Status Resolve(absl::string_view url, std::size_t image, std::span<const FormPart> parts,
                     std::set<absl::string_view>* named, OpenAiRequest* request) {
  CallImage& target = request->call.images[image];
  if (absl::StartsWithIgnoreCase(url, "data:")) return ReadDataUri(url, image, request);
  if (absl::StartsWithIgnoreCase(url, "http://") || absl::StartsWithIgnoreCase(url, "https://")) {
    request->remote.push_back({.image = image, .url = std::string(url)});
    return absl::OkStatus();
  }
  if (!absl::ConsumePrefix(&url, "cid:")) {
    return FieldError(target.field, "expected a data:, cid:, http: or https: URL");
  }
  for (const FormPart& part : parts) {
    if (part.name != url) continue;
    target.bytes = part.content;
    named->insert(part.name);
    return absl::OkStatus();
  }
  return FieldError(target.field, absl::StrCat("the form has no part ", Shown(url)));
}

}  // namespace

absl::Status ResolveImages(const std::vector<absl::string_view>& urls,
                           std::span<const FormPart> parts, OpenAiRequest* request) {
  std::set<absl::string_view> named;
  for (std::size_t i = 0; i < urls.size(); ++i) {
    RETURN_IF_ERROR(Resolve(urls[i], i, parts, &named, request));
  }
  ChatCall& call = request->call;
  std::vector<model::MessagePart> loose;
  for (const FormPart& part : parts) {
    if (part.name == kRequestPart || named.count(part.name) > 0) continue;
    loose.emplace_back(model::ImagePart{.index = static_cast<int>(call.images.size())});
    call.images.push_back({.bytes = part.content, .field = Shown(part.name)});
  }
  if (loose.empty()) return absl::OkStatus();
  if (call.messages.empty()) return FieldError("messages", "is empty, expected a message");
  std::vector<model::MessagePart>& last = call.messages.back().parts;
  last.insert(last.begin(), loose.begin(), loose.end());
  return absl::OkStatus();
}

}  // namespace llava::api
