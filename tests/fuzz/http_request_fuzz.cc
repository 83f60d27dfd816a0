// Any body of a chat request, JSON or a form: it becomes a call within its bounds or an error that
// names a field. Input: the Content-Type, a line feed, the body.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/strings/string_view.h"
#include "base/check.h"
#include "base/field_error.h"
#include "base/utf8_stream.h"
#include "server/api/openai/request.h"
#include "server/chat/chat_call.h"

namespace llava::api {
namespace {

// Every image of a message exists, and every image but those to be fetched has its bytes.
void CheckImages(const OpenAiRequest& request) {
  const ChatCall& call = request.call;
  std::size_t used = 0;
  for (const model::ChatMessage& message : call.messages) {
    for (const model::MessagePart& part : message.parts) {
      const auto* image = std::get_if<model::ImagePart>(&part);
      if (image == nullptr) continue;
      ++used;
      LLAVA_CHECK(image->index >= 0);
      LLAVA_CHECK(static_cast<std::size_t>(image->index) < call.images.size());
    }
  }
  LLAVA_CHECK_EQ(used, call.images.size());
  for (const CallImage& image : call.images) LLAVA_CHECK(!image.field.empty());
  for (const RemoteImage& remote : request.remote) {
    LLAVA_CHECK(remote.image < call.images.size());
    LLAVA_CHECK(call.images[remote.image].bytes.empty());
  }
}

}  // namespace
}  // namespace llava::api

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace api = llava::api;
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t line_feed = input.find('\n');
  if (line_feed == input.npos) return 0;
  const auto request =
      api::ParseOpenAiRequest(input.substr(0, line_feed), input.substr(line_feed + 1));
  if (!request.ok()) {
    LLAVA_CHECK(request.status().code() == absl::StatusCode::kInvalidArgument);
    LLAVA_CHECK(!request.status().message().empty());
    LLAVA_CHECK(llava::IsValidUtf8(llava::FieldOf(request.status())));
    return 0;
  }
  api::CheckImages(*request);
  const auto weight = api::CheckCall(request->call, {});
  if (!weight.ok()) {
    LLAVA_CHECK(weight.status().code() == absl::StatusCode::kInvalidArgument);
    return 0;
  }
  LLAVA_CHECK(weight->bytes >= 0 && weight->pixels >= 0);
  LLAVA_CHECK(!request->call.messages.empty());
  LLAVA_CHECK(llava::Validate(request->call.sampling).ok());
  return 0;
}
