// Errors that know which field of a request is wrong, and what an error says to the outside. The
// field's path travels as a payload of the status, never to be found again in the message: gRPC's
// error details and the `param` of OpenAI's errors are made of it.
#ifndef LLAVA_BASE_FIELD_ERROR_H_
#define LLAVA_BASE_FIELD_ERROR_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace llava {

// INVALID_ARGUMENT "<field>: <message>" that remembers the field's path, such as
// "messages[0].parts[1].image".
absl::Status FieldError(absl::string_view field, absl::string_view message);

// `status` with the path of its field; an OK status stays OK. The message is kept.
absl::Status WithField(absl::Status status, absl::string_view field);

// The longest that MessageOf says: an error that quotes a file or a request can be as long as
// these.
inline constexpr std::size_t kMaxMessageBytes = 4096;

// What whoever caused the error may be told, over any protocol: the message as valid UTF-8,
// whatever bytes of a request, a file or its name it quotes, of at most kMaxMessageBytes. One that
// is longer keeps its beginning and ends with "...".
std::string MessageOf(const absl::Status& status);

// What a client sent, as an error quotes it: valid UTF-8, of more than 100 bytes only the beginning
// and how many there were, "xxx... (5000 bytes)".
std::string Shortened(absl::string_view text);

// The path, as valid UTF-8; empty when the status names no field.
std::string FieldOf(const absl::Status& status);

// An error about a part of a request, seen from the whole: `prefix` goes in front of the field's
// path and of the message, which begins with it. An OK status, and one that names no field, stay
// as they are.
absl::Status UnderField(absl::string_view prefix, const absl::Status& status);

}  // namespace llava

#endif  // LLAVA_BASE_FIELD_ERROR_H_
