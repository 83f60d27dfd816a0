// Functions in the JSON of OpenAI's chat completions: tools, tool_choice, and what messages say of
// calls.
#ifndef LLAVA_SERVER_API_OPENAI_TOOLS_H_
#define LLAVA_SERVER_API_OPENAI_TOOLS_H_

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/text/chat_message.h"
#include "server/chat/tool_call_reader.h"
#include "server/chat/tool_use.h"

namespace llava::api {

// INVALID_ARGUMENT with the path of what is wrong in a `value` that is not null.
absl::Status ReadTools(const boost::json::value& value, const std::string& field, ToolUse* use);
absl::Status ReadToolChoice(const boost::json::value& value, const std::string& field,
                            ToolUse* use);
absl::Status ReadToolCalls(const boost::json::value& value, const std::string& field,
                           std::vector<model::ToolCall>* calls);

// The `tool_calls` of an event, and those of a message, whose deltas are put together.
boost::json::array ToToolCallDeltas(const std::vector<CallDelta>& deltas);
boost::json::array ToToolCalls(const std::vector<CallDelta>& deltas);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_OPENAI_TOOLS_H_
