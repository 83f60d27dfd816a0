// What came of one attempt to ask: an answer, or what to do instead. Services are not trusted: any
// bytes may come.
#ifndef LLAVA_TRAINING_ENDPOINT_CHAT_REPLY_H_
#define LLAVA_TRAINING_ENDPOINT_CHAT_REPLY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/http/http_exchange.h"

namespace llava::training {

struct ChatReply {
  std::string text{};
  std::string finish_reason{};  // "stop", "length", ...; may be empty
  std::string model{};          // that says to have answered; may be empty
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
  bool estimated = false;  // the service did not count: the tokens are a guess from the bytes
};

enum class Verdict {
  kGood,
  kThrottled,  // ask again later, more slowly: 429, 503
  kUnwell,  // the service could not: no connection, time, 5xx; or it is none: HTML, another model
  kMalformed,  // an answer of the service's form that is none: without a text
  kRefused,    // this request will never be answered
  kHopeless,   // no request will: the key, the address, the model
};

struct Attempt {
  Verdict verdict = Verdict::kUnwell;
  int http = 0;         // 0: no status came
  ChatReply reply;      // when good
  std::string message;  // when not: one line, for a person
  std::optional<Duration> retry_after;
  bool paid = false;  // the service may have counted its tokens
};

// What an answer is judged by.
struct AskedFor {
  const std::string& model;  // "gpt-4" is also "gpt-4-0613"
  bool any_model = false;
  std::int64_t prompt_bytes = 0;            // to guess tokens from
  const std::vector<std::string>& choices;  // ChatRequest::choices
};

// Judges an answer. `unix_seconds` is the time, for a Retry-After that is a date.
Attempt ReadAnswer(const HttpAnswer& answer, const AskedFor& asked, std::int64_t unix_seconds);

// "12", "Wed, 21 Oct 2015 07:28:00 GMT"; nothing for anything else.
std::optional<Duration> ParseRetryAfter(std::string_view value, std::int64_t unix_seconds);

// "1s", "6m0s", "250ms", "1.5s": nothing for anything else.
std::optional<Duration> ParseReset(std::string_view value);

// One line of at most 300 bytes without control characters, and without `secret`.
std::string ForPeople(std::string_view text, std::string_view secret);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_ENDPOINT_CHAT_REPLY_H_
