#include "client/replay/replay.h"

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"

namespace llava::client {
namespace {

namespace json = boost::json;

// A member that is there; null is the same as absent.
const json::value* Given(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::string TextOf(const json::object& object, const char* name) {
  const json::value* value = Given(object, name);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : "";
}

const json::array& ChoicesOf(const json::object& response) {
  return response.at("choices").as_array();
}

absl::Status CheckResponse(const json::object& response) {
  const json::value* choices = Given(response, "choices");
  const bool is_answer = TextOf(response, "object") == "chat.completion" && choices != nullptr &&
                         choices->is_array() && !choices->as_array().empty() &&
                         std::ranges::all_of(choices->as_array(), [](const json::value& choice) {
                           const json::value* message =
                               choice.is_object() ? Given(choice.as_object(), "message") : nullptr;
                           return message != nullptr && message->is_object();
                         });
  if (is_answer) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "the response is no whole chat completion, expected {\"object\": \"chat.completion\", ...}");
}

// "VERSION-BUILD-NUMBERS", whose last part may have more dashes than none.
std::array<std::string, 3> PartsOf(const json::object& response) {
  const std::vector<std::string> parts =
      absl::StrSplit(TextOf(response, "system_fingerprint"), absl::MaxSplits('-', 2));
  std::array<std::string, 3> three;
  for (std::size_t i = 0; i < parts.size(); ++i) three[i] = parts[i];
  return three;
}

std::string Shown(const json::value* value) {
  std::string text = value == nullptr ? "nothing" : json::serialize(*value);
  constexpr std::size_t kMost = 60;
  if (text.size() > kMost) text = absl::StrCat(text.substr(0, kMost), "...");
  return text;
}

const json::array* TokensOf(const json::object& choice) {
  const json::value* tokens = Given(choice, "token_ids");
  return tokens != nullptr && tokens->is_array() ? &tokens->as_array() : nullptr;
}

// Where two lists differ first; empty: nowhere.
std::string FirstDifference(const json::array& then, const json::array& now) {
  for (std::size_t i = 0; i < std::max(then.size(), now.size()); ++i) {
    const json::value* was = i < then.size() ? &then[i] : nullptr;
    const json::value* is = i < now.size() ? &now[i] : nullptr;
    if (was != nullptr && is != nullptr && *was == *is) continue;
    return absl::StrCat("token ", i + 1, " was ", Shown(was), " and is ", Shown(is));
  }
  return "";
}

std::string DifferenceOf(const json::object& then, const json::object& now, bool* has_tokens) {
  const json::array* tokens = TokensOf(then);
  const json::array* again = TokensOf(now);
  *has_tokens = tokens != nullptr && again != nullptr;
  if (*has_tokens) {
    const std::string difference = FirstDifference(*tokens, *again);
    if (!difference.empty()) return difference;
  }
  for (const char* field : {"content", "tool_calls"}) {
    // The ids of calls are random.
    if (*has_tokens) break;
    const json::value* was = Given(then.at("message").as_object(), field);
    const json::value* is = Given(now.at("message").as_object(), field);
    if (field == absl::string_view("tool_calls")) {
      if ((was == nullptr) == (is == nullptr)) continue;
    } else if (was == is || (was != nullptr && is != nullptr && *was == *is)) {
      continue;
    }
    return absl::StrCat(field, " was ", Shown(was), " and is ", Shown(is));
  }
  const json::value* was = Given(then, "finish_reason");
  const json::value* is = Given(now, "finish_reason");
  if (Shown(was) == Shown(is)) return "";
  return absl::StrCat("finish_reason was ", Shown(was), " and is ", Shown(is));
}

// Of a line of a batch: what is inside.
json::object BodyOf(json::object line) {
  json::object* inner = &line;
  json::value* response = line.if_contains("response");
  if (response != nullptr && response->is_object()) inner = &response->as_object();
  json::value* body = inner->if_contains("body");
  if (body == nullptr || !body->is_object()) return line;
  return json::object(body->as_object());
}

}  // namespace

absl::StatusOr<Recorded> ReadRecorded(json::object request, json::object response) {
  Recorded recorded{.request = BodyOf(std::move(request)), .response = BodyOf(std::move(response))};
  if (Given(recorded.request, "messages") == nullptr) {
    return absl::InvalidArgumentError(
        "the request has no messages, expected the body of a chat completion");
  }
  RETURN_IF_ERROR(CheckResponse(recorded.response));
  return recorded;
}

absl::StatusOr<json::object> RequestToReplay(const Recorded& recorded) {
  const json::value* temperature = Given(recorded.request, "temperature");
  const bool is_greedy =
      temperature == nullptr || !temperature->is_number() || temperature->to_number<double>() == 0;
  if (!is_greedy && Given(recorded.request, "seed") == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("the request has temperature ", Shown(temperature),
                     " and no seed: the server chose one, and nobody knows it"));
  }
  const std::string version = PartsOf(recorded.response)[0];
  const std::string model = TextOf(recorded.response, "model");
  if (version.empty() || model.empty()) {
    return absl::FailedPreconditionError(
        "the response does not say what made it, expected model and system_fingerprint");
  }
  json::object again = recorded.request;
  again.erase("stream");
  again.erase("stream_options");
  again["model"] = absl::StrCat(model, "@", version);
  again["return_token_ids"] = true;
  return again;
}

absl::StatusOr<Replay> CompareReplay(const json::object& recorded, const json::object& again) {
  RETURN_IF_ERROR(CheckResponse(again));
  Replay replay;
  const auto then = PartsOf(recorded);
  const auto now = PartsOf(again);
  constexpr const char* kParts[] = {"version", "build", "number format"};
  for (std::size_t i = 0; i < then.size(); ++i) {
    if (then[i] == now[i]) continue;
    replay.causes.push_back(
        absl::StrCat("the ", kParts[i], " was '", then[i], "' and is '", now[i], "'"));
  }
  const json::array& choices = ChoicesOf(recorded);
  const json::array& choices_now = ChoicesOf(again);
  if (choices.size() != choices_now.size()) {
    replay.difference =
        absl::StrCat(choices.size(), " answers were there and ", choices_now.size(), " are");
    return replay;
  }
  replay.has_tokens = true;
  for (std::size_t i = 0; i < choices.size() && replay.difference.empty(); ++i) {
    bool has_tokens = false;
    const std::string difference =
        DifferenceOf(choices[i].as_object(), choices_now[i].as_object(), &has_tokens);
    replay.has_tokens = replay.has_tokens && has_tokens;
    if (!difference.empty()) replay.difference = absl::StrCat("answer ", i + 1, ": ", difference);
  }
  replay.is_same = replay.difference.empty();
  return replay;
}

}  // namespace llava::client
