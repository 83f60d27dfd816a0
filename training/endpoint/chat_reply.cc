#include "training/endpoint/chat_reply.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "base/utf8_stream.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr std::int64_t kBytesOfAToken = 3;  // rather too few than too many
constexpr std::size_t kMaxSentence = 300;
constexpr double kMostWaitSeconds = 366.0 * 86400;
constexpr std::int64_t kMostTokens = 1'000'000'000;  // that anybody would count for one answer

Duration FromSeconds(double seconds) {
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(std::clamp(seconds, 0.0, kMostWaitSeconds)));
}

const json::value* Find(const json::value& value, std::string_view key) {
  const json::object* object = value.if_object();
  return object == nullptr ? nullptr : object->if_contains({key.data(), key.size()});
}

std::string Text(const json::value* value) {
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : "";
}

// -1 for what is no count.
std::int64_t Count(const json::value* value) {
  if (value == nullptr || !value->is_number()) return -1;
  boost::system::error_code error;
  const auto count = value->to_number<std::int64_t>(error);
  return error || count < 0 || count > kMostTokens ? -1 : count;
}

// The service's own sentence, or the beginning of what it sent.
std::string Sentence(const std::string& body) {
  boost::system::error_code error;
  const json::value parsed = json::parse(body, error);
  if (!error) {
    const json::value* problem = Find(parsed, "error");
    const std::string said = problem == nullptr || problem->is_string()
                                 ? Text(problem)
                                 : Text(Find(*problem, "message"));
    if (!said.empty()) return said;
  }
  return body;
}

Attempt NoAnswer(Verdict verdict, int http, std::string what) {
  Attempt attempt;
  attempt.verdict = verdict;
  attempt.http = http;
  attempt.message = std::move(what);
  attempt.paid = true;
  return attempt;
}

bool IsModel(const std::string& said, const std::string& asked) {
  return said.empty() || said == asked || absl::StartsWith(said, asked + "-");
}

void FillUsage(const json::value& body, std::int64_t prompt_bytes, ChatReply* reply) {
  const json::value* usage = Find(body, "usage");
  reply->prompt_tokens = usage == nullptr ? -1 : Count(Find(*usage, "prompt_tokens"));
  reply->completion_tokens = usage == nullptr ? -1 : Count(Find(*usage, "completion_tokens"));
  reply->estimated = reply->prompt_tokens < 0 || reply->completion_tokens < 0;
  if (!reply->estimated) return;
  reply->prompt_tokens = prompt_bytes / kBytesOfAToken + 1;
  reply->completion_tokens = std::ssize(reply->text) / kBytesOfAToken + 1;
}

// Of /chat/completions: the first choice's text.
std::string ReadText(const json::value& body, ChatReply* reply) {
  const json::value* choices = Find(body, "choices");
  const json::array* list = choices == nullptr ? nullptr : choices->if_array();
  if (list == nullptr || list->empty()) return "has no choices";
  const json::value* message = Find(list->front(), "message");
  const json::value* content = message == nullptr ? nullptr : Find(*message, "content");
  reply->text = Text(content);
  reply->finish_reason = Text(Find(list->front(), "finish_reason"));
  if (content == nullptr || !content->is_string()) {
    return absl::StrCat("has no text, and ended with '", reply->finish_reason, "'");
  }
  return reply->text.find('\0') == std::string::npos ? "" : "has a NUL in its text";
}

// Of /score: the likeliest of the given answers.
std::string ReadBest(const json::value& body, const std::vector<std::string>& choices,
                     ChatReply* reply) {
  const json::value* best = Find(body, "best");
  const std::int64_t index = best == nullptr ? -1 : Count(best);
  if (index < 0 || index >= std::ssize(choices)) {
    return absl::StrCat("has no index of one of ", choices.size(), " choices as 'best'");
  }
  reply->text = choices[static_cast<std::size_t>(index)];
  return "";
}

Attempt ReadCompletion(const HttpAnswer& answer, const AskedFor& asked) {
  if (!answer.content_encoding.empty() && answer.content_encoding != "identity") {
    return NoAnswer(Verdict::kUnwell, answer.status,
                    absl::StrCat("is encoded as ", answer.content_encoding, ", expected plain"));
  }
  boost::system::error_code error;
  const json::value body = json::parse(answer.body, error);
  if (error) {
    return NoAnswer(Verdict::kUnwell, answer.status, absl::StrCat("is no JSON: ", answer.body));
  }
  Attempt attempt;
  attempt.http = answer.status;
  std::string wrong = asked.choices.empty() ? ReadText(body, &attempt.reply)
                                            : ReadBest(body, asked.choices, &attempt.reply);
  if (!wrong.empty()) return NoAnswer(Verdict::kMalformed, answer.status, std::move(wrong));
  attempt.reply.model = Text(Find(body, "model"));
  if (!asked.any_model && !IsModel(attempt.reply.model, asked.model)) {
    return NoAnswer(
        Verdict::kUnwell, answer.status,
        absl::StrCat("is of the model '", attempt.reply.model, "', expected '", asked.model, "'"));
  }
  FillUsage(body, asked.prompt_bytes, &attempt.reply);
  attempt.verdict = Verdict::kGood;
  attempt.paid = true;
  return attempt;
}

Verdict VerdictOf(int status) {
  if (status == 429 || status == 503) return Verdict::kThrottled;
  if (status == 401 || status == 403 || status == 404) return Verdict::kHopeless;
  if (status >= 300 && status < 400) return Verdict::kHopeless;
  if (status >= 500 || status == 408 || status == 409 || status == 425) return Verdict::kUnwell;
  return Verdict::kRefused;
}

}  // namespace

Attempt ReadAnswer(const HttpAnswer& answer, const AskedFor& asked, std::int64_t unix_seconds) {
  if (answer.status == 200) return ReadCompletion(answer, asked);
  Attempt attempt;
  attempt.http = answer.status;
  attempt.verdict = VerdictOf(answer.status);
  attempt.retry_after = ParseRetryAfter(answer.retry_after, unix_seconds);
  if (!attempt.retry_after.has_value() && attempt.verdict == Verdict::kThrottled) {
    attempt.retry_after = ParseReset(answer.rate_limit_reset);
  }
  attempt.message = answer.location.empty()
                        ? Sentence(answer.body)
                        : absl::StrCat("redirects to ", answer.location, ", which is not followed");
  return attempt;
}

std::optional<Duration> ParseRetryAfter(std::string_view value, std::int64_t unix_seconds) {
  double seconds = 0;
  if (absl::SimpleAtod(AbslView(value), &seconds)) {
    if (!std::isfinite(seconds) || seconds < 0) return std::nullopt;
    return FromSeconds(seconds);
  }
  absl::Time time;
  if (!absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", AbslView(value), &time, nullptr)) {
    return std::nullopt;
  }
  // It reads "infinite-past" too.
  if (time == absl::InfinitePast() || time == absl::InfiniteFuture()) return std::nullopt;
  return FromSeconds(static_cast<double>(absl::ToUnixSeconds(time)) -
                     static_cast<double>(unix_seconds));
}

std::optional<Duration> ParseReset(std::string_view value) {
  absl::Duration duration;
  if (value.empty() || !absl::ParseDuration(AbslView(value), &duration)) return std::nullopt;
  if (duration < absl::ZeroDuration()) return std::nullopt;
  return FromSeconds(absl::ToDoubleSeconds(duration));
}

std::string ForPeople(std::string_view text, std::string_view secret) {
  std::string line = Utf8Repair(text);
  if (!secret.empty()) line = absl::StrReplaceAll(line, {{AbslView(secret), "[key]"}});
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < ' ' || c == 127) c = ' ';
  }
  if (line.size() > kMaxSentence) {
    line = Utf8Repair(std::string_view(line).substr(0, kMaxSentence)) + "...";
  }
  return line;
}

}  // namespace llava::training
