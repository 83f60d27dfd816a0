// What an answer is to look like, in the words of OpenAI's reference (response_format) and of vLLM
// (structured_outputs).
#ifndef LLAVA_SERVER_API_OPENAI_ANSWER_FORMAT_H_
#define LLAVA_SERVER_API_OPENAI_ANSWER_FORMAT_H_

#include <boost/json/value.hpp>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "model/grammar/answer_format.h"

namespace llava::api {

// {"type": "text"}, which asks for nothing, {"type": "json_object"} or {"type": "json_schema",
// "json_schema": {"name": ..., "schema": ...}}. INVALID_ARGUMENT names the field; so it does when
// `format` is set, since there can be only one.
absl::Status ReadResponseFormat(const boost::json::value& value, const std::string& field,
                                std::optional<model::AnswerFormat>* format);

// An object with one of json, json_object, regex, choice and grammar. Errors as above.
absl::Status ReadStructuredOutputs(const boost::json::value& value, const std::string& field,
                                   std::optional<model::AnswerFormat>* format);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_OPENAI_ANSWER_FORMAT_H_
