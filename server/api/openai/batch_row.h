// Lines of OpenAI's batch files: what is asked, and what was answered.
#ifndef LLAVA_SERVER_API_OPENAI_BATCH_ROW_H_
#define LLAVA_SERVER_API_OPENAI_BATCH_ROW_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace llava::api {

struct BatchRow {
  std::string custom_id = {};  // of the client, unique within its file
  std::string body = {};       // JSON, with low priority
};

inline constexpr std::size_t kMaxCustomIdBytes = 512;

// INVALID_ARGUMENT with the path of the field: anything but {"custom_id", "method": "POST", "url":
// `endpoint`, "body": {...}}. Of the body only `stream` is looked at; the rest is looked at when it
// is asked.
absl::StatusOr<BatchRow> ParseBatchRow(absl::string_view line, absl::string_view endpoint);

// What a line of an output file says that was asked with `request_id`. `body`: of the HTTP
// response, JSON without line ends.
std::string AnswerLine(absl::string_view custom_id, absl::string_view request_id, int status,
                       absl::string_view body);

// The same of a row that was never answered.
std::string FailureLine(absl::string_view custom_id, absl::string_view request_id,
                        absl::string_view code, absl::string_view message);

// Which row a line of an output file is of; nothing when it is no such line.
std::optional<std::string> CustomIdOf(absl::string_view line);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_OPENAI_BATCH_ROW_H_
