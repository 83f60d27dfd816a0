// One part of a message's content, and which members it may have: what asks for nothing, and hints,
// are passed over; what would be lost is refused by name.
#ifndef LLAVA_SERVER_API_OPENAI_CONTENT_PART_H_
#define LLAVA_SERVER_API_OPENAI_CONTENT_PART_H_

#include <boost/json/value.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/text/chat_message.h"

namespace llava::api {

// Of messages, their parts, functions and calls: null, or an empty text, list or object.
bool AsksForNothing(const boost::json::value& value);

// Where a cache may end, and what to call a picture there: no answer depends on it.
bool IsHint(absl::string_view name);

// Both refer to the JSON, which outlives it.
struct ContentPart {
  absl::string_view type;  // text, refusal or image_url
  const boost::json::value* content = nullptr;
};

// `field`: the part's path. INVALID_ARGUMENT with the path of what is wrong.
absl::StatusOr<ContentPart> ReadContentPart(const boost::json::value& value,
                                            const std::string& field, model::Role role);

// The URL of an image_url, which is text or an object; `place` becomes its path. Errors as above.
absl::StatusOr<absl::string_view> ReadImageUrl(const boost::json::value& value, std::string* place);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_OPENAI_CONTENT_PART_H_
