// Fields of OpenAI's reference, and of vLLM's requests, that this server has no use for. What asks
// for nothing is let pass; what would change the answer is refused by name, never ignored.
#ifndef LLAVA_SERVER_API_OPENAI_NEUTRAL_FIELDS_H_
#define LLAVA_SERVER_API_OPENAI_NEUTRAL_FIELDS_H_

#include <boost/json/value.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace llava::api {

// Whether such a field is known by this name, where null always asks for nothing.
bool IsNeutralField(absl::string_view name);

// REQUIRES: IsNeutralField(name). OK when `value` asks for nothing that is not done anyway;
// INVALID_ARGUMENT with the field `place` otherwise, saying what would pass.
absl::Status CheckNeutralField(absl::string_view name, const boost::json::value& value,
                               const std::string& place);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_OPENAI_NEUTRAL_FIELDS_H_
