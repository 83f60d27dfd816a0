// Any bytes as what a service of chat completions answers: its status, its headers, its body, a
// line each and the rest. What comes of it is an answer within bounds, or one line for a person.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/utf8_stream.h"
#include "training/endpoint/chat_reply.h"

namespace llava::training {
namespace {

constexpr std::int64_t kNow = 1'700'000'000;
constexpr std::size_t kMaxSentence = 300 + 16;  // and what ends one that was cut

std::string NextLine(std::string_view& rest) {
  const std::size_t end = rest.find('\n');
  std::string line(rest.substr(0, end));
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return line;
}

// The first line is "503": one byte more or less makes another status.
int StatusOf(const std::string& line) {
  int status = 0;
  for (const char c : line.substr(0, 3)) status = 10 * status + (c - '0') % 10;
  return status;
}

}  // namespace
}  // namespace llava::training

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace training = llava::training;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  llava::HttpAnswer answer;
  answer.status = training::StatusOf(training::NextLine(rest));
  answer.retry_after = training::NextLine(rest);
  answer.rate_limit_reset = training::NextLine(rest);
  answer.content_encoding = training::NextLine(rest);
  answer.location = training::NextLine(rest);
  answer.body = std::string(rest);
  const std::string model = "gpt-4";
  const std::vector<std::string> written, choices = {"A", "B"};
  const training::AskedFor scored{model, true, 1000, choices};
  const training::Attempt best = training::ReadAnswer(answer, scored, training::kNow);
  if (best.verdict == training::Verdict::kGood) {
    LLAVA_CHECK(best.reply.text == "A" || best.reply.text == "B");
  }
  for (const bool any_model : {false, true}) {
    const training::AskedFor asked{model, any_model, 1000, written};
    const training::Attempt attempt = training::ReadAnswer(answer, asked, training::kNow);
    if (attempt.verdict == training::Verdict::kGood) {
      LLAVA_CHECK(llava::IsValidUtf8(attempt.reply.text));
      LLAVA_CHECK(attempt.reply.prompt_tokens >= 0 && attempt.reply.completion_tokens >= 0);
    } else {
      const std::string line = training::ForPeople(attempt.message, "secret");
      LLAVA_CHECK(line.size() <= training::kMaxSentence);
      LLAVA_CHECK(llava::IsValidUtf8(line));
      LLAVA_CHECK(line.find('\n') == std::string::npos);
      LLAVA_CHECK(line.find("secret") == std::string::npos);
    }
    if (attempt.retry_after) LLAVA_CHECK(attempt.retry_after->count() >= 0);
  }
  return 0;
}
