#include "server/api/openai/images.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "server/api/openai/data_uri.h"
#include "server/api/openai/json_body.h"

namespace llava::api {
namespace {

absl::Status ReadDataUri(absl::string_view uri, std::size_t image, OpenAiRequest* request) {
  CallImage& target = request->call.images[image];
  absl::StatusOr<std::string> bytes = DecodeDataUri(uri);
  if (!bytes.ok()) {
    return FieldError(target.field,
                      absl::StrCat("is ", ShownText(uri), ", ", bytes.status().message()));
  }
  request->image_bytes.push_back(*std::move(bytes));
  target.bytes = request->image_bytes.back();
  return absl::OkStatus();
}

absl::Status Resolve(absl::string_view url, std::size_t image, std::span<const FormPart> parts,
                     std::set<absl::string_view>* named, OpenAiRequest* request) {
  CallImage& target = request->call.images[image];
  const std::string one_line = WithoutLines(url);
  if (!one_line.empty()) url = one_line;
  url = StripUrl(url);
  if (HasScheme(url, "data")) return ReadDataUri(url, image, request);
  if (HasScheme(url, "http") || HasScheme(url, "https")) {
    request->remote.push_back({.image = image, .url = std::string(url)});
    return absl::OkStatus();
  }
  constexpr absl::string_view kPart = "cid";
  if (!HasScheme(url, kPart)) {
    return FieldError(target.field, absl::StrCat("is ", ShownText(url),
                                                 ", expected a data:, cid:, http: or https: URL"));
  }
  url.remove_prefix(kPart.size() + 1);
  for (const FormPart& part : parts) {
    if (part.name != url) continue;
    target.bytes = part.content;
    named->insert(part.name);
    return absl::OkStatus();
  }
  return FieldError(target.field, absl::StrCat("the form has no part ", Shortened(url)));
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
    call.images.push_back({.bytes = part.content, .field = Shortened(part.name)});
  }
  if (loose.empty()) return absl::OkStatus();
  if (call.messages.empty()) return FieldError("messages", "is empty, expected a message");
  // What the user said last; an assistant's message behind it is only begun.
  auto last = std::find_if(
      call.messages.rbegin(), call.messages.rend(),
      [](const model::ChatMessage& message) { return message.role == model::Role::kUser; });
  if (last == call.messages.rend()) last = call.messages.rbegin();
  last->parts.insert(last->parts.begin(), loose.begin(), loose.end());
  return absl::OkStatus();
}

}  // namespace llava::api
