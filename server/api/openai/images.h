// Where the images of a chat request come from: data: URIs, parts of a form, other servers.
#ifndef LLAVA_SERVER_API_OPENAI_IMAGES_H_
#define LLAVA_SERVER_API_OPENAI_IMAGES_H_

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/api/openai/multipart.h"
#include "server/api/openai/request.h"

namespace llava::api {

// Fills the bytes of request->call.images, which stand for `urls`, one for each:
//   data:image/png;base64,...   here
//   cid:NAME                    the form's part of that name
//   http://..., https://...     request->remote, still to be fetched
// Parts that no URL names are images too: they go before the text of the user's last
// message, in their order.
// INVALID_ARGUMENT with the field's path.
absl::Status ResolveImages(const std::vector<absl::string_view>& urls,
                           std::span<const FormPart> parts, OpenAiRequest* request);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_OPENAI_IMAGES_H_
