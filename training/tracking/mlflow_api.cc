#include "training/tracking/mlflow_api.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "training/endpoint/chat_reply.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr char kPath[] = "/api/2.0/mlflow/";
constexpr char kKeyTag[] = "llava.run";
constexpr Duration kIdle = std::chrono::seconds(15);
constexpr Duration kMostTime = std::chrono::seconds(30);
constexpr Duration kLongestWait = std::chrono::minutes(10);
constexpr std::int64_t kMillisOfASecond = 1000;
constexpr std::size_t kMaxIdBytes = 256;

absl::Status NoAnswer(absl::string_view why) {
  return absl::UnavailableError(absl::StrCat("answers, but not as MLflow does: ", why));
}

// What becomes part of later requests.
absl::StatusOr<std::string> Id(const json::value* value, const char* name) {
  const json::string* const text = value == nullptr ? nullptr : value->if_string();
  const auto plain = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
  };
  if (text == nullptr || text->empty() || text->size() > kMaxIdBytes ||
      !std::all_of(text->begin(), text->end(), plain)) {
    return NoAnswer(absl::StrCat(name, " is no id"));
  }
  return std::string(text->data(), text->size());
}

const json::object* ObjectAt(const json::object* object, const char* key) {
  const json::value* const value = object == nullptr ? nullptr : object->if_contains(key);
  return value == nullptr ? nullptr : value->if_object();
}

absl::StatusOr<std::string> RunId(const json::object* run) {
  const json::object* const info = ObjectAt(run, "info");
  if (info == nullptr) return NoAnswer("a run without info");
  return Id(info->if_contains("run_id"), "run_id");
}

bool Says(const json::object& object, const char* key, std::string_view what) {
  const json::value* const value = object.if_contains(key);
  const json::string* const text = value == nullptr ? nullptr : value->if_string();
  return text != nullptr && std::string_view(text->data(), text->size()) == what;
}

json::array Pairs(const auto& pairs) {
  json::array list;
  for (const auto& [key, value] : pairs) list.push_back({{"key", key}, {"value", value}});
  return list;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MlflowApi>> MlflowApi::Make(const MlflowOptions& options,
                                                           const Clock& clock) {
  absl::StatusOr<HttpTarget> target = ParseUrl(options.uri);
  if (!target.ok()) return Annotate(target.status(), "tracking.mlflow.uri");
  while (!target->path.empty() && target->path.back() == '/') target->path.pop_back();
  absl::StatusOr<std::string> token = LoadMlflowToken(options);
  if (!token.ok()) return Annotate(token.status(), "tracking.mlflow");
  return std::unique_ptr<MlflowApi>(
      new MlflowApi(*std::move(target), *std::move(token), options.allow_plain, clock));
}

MlflowApi::MlflowApi(HttpTarget target, std::string token, bool allow_plain, const Clock& clock)
    : target_(std::move(target)),
      token_(std::move(token)),
      allow_plain_(allow_plain),
      clock_(clock),
      post_(clock) {}

absl::StatusOr<json::object> MlflowApi::Call(const char* what, const json::object& object) {
  const std::string path = absl::StrCat(kPath, what);
  const std::string body = json::serialize(object);
  const std::string authorization = token_.empty() ? "" : absl::StrCat("Bearer ", token_);
  const HttpPost post{.user_agent = "llava-train",
                      .path = path,
                      .body = body,
                      .authorization = authorization,
                      .allow_public = allow_plain_,
                      .idle = kIdle,
                      .deadline = clock_.Now() + kMostTime};
  retry_after_.reset();
  const absl::StatusOr<HttpAnswer> answer = post_.Run(target_, post);
  if (absl::IsDeadlineExceeded(answer.status())) {
    return absl::UnavailableError(answer.status().message());
  }
  RETURN_IF_ERROR(answer.status());
  retry_after_ = ParseRetryAfter(answer->retry_after, clock_.UnixMillis() / kMillisOfASecond);
  if (retry_after_) retry_after_ = std::min(*retry_after_, kLongestWait);
  return Read(*answer);
}

absl::StatusOr<json::object> MlflowApi::Read(const HttpAnswer& answer) const {
  if (answer.status / 100 != 2) return Refusal(answer);
  if (!answer.content_encoding.empty()) return NoAnswer("compressed, which nobody asked for");
  boost::system::error_code error;
  json::value value = json::parse(answer.body, error);
  if (error || !value.is_object()) return NoAnswer("no object of JSON");
  return std::move(value.get_object());
}

// MLflow's errors are {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "..."}.
absl::Status MlflowApi::Refusal(const HttpAnswer& answer) const {
  std::string said = answer.body;
  json::object error;
  boost::system::error_code ignored;
  json::value value = json::parse(answer.body, ignored);
  if (!ignored && value.is_object()) {
    error = std::move(value.get_object());
    const json::value* const message = error.if_contains("message");
    if (message != nullptr && message->is_string()) {
      said.assign(message->get_string().data(), message->get_string().size());
    }
  }
  const std::string text = absl::StrCat("HTTP ", answer.status, ": ", ForPeople(said, token_));
  if (answer.status == 401 || answer.status == 403) return absl::PermissionDeniedError(text);
  if (Says(error, "error_code", "RESOURCE_DOES_NOT_EXIST")) return absl::NotFoundError(text);
  if (Says(error, "error_code", "RESOURCE_ALREADY_EXISTS")) return absl::AlreadyExistsError(text);
  if (answer.status == 400) return absl::InvalidArgumentError(text);
  return absl::UnavailableError(text);
}

absl::StatusOr<std::string> MlflowApi::FindExperiment(const std::string& name) {
  ASSIGN_OR_RETURN(const json::object answer,
                   Call("experiments/search", {{"filter", absl::StrCat("name = '", name, "'")},
                                               {"max_results", 10},
                                               {"view_type", "ALL"}}));
  const json::value* const found = answer.if_contains("experiments");
  if (found != nullptr && !found->is_array()) return NoAnswer("experiments is no list");
  if (found != nullptr) {
    for (const json::value& value : found->get_array()) {
      const json::object* const experiment = value.if_object();
      // Some databases find names in other cases too.
      if (experiment == nullptr || !Says(*experiment, "name", name)) continue;
      if (Says(*experiment, "lifecycle_stage", "deleted")) {
        return absl::FailedPreconditionError(absl::StrCat(
            "the experiment '", name, "' is deleted there, restore it or name another"));
      }
      return Id(experiment->if_contains("experiment_id"), "experiment_id");
    }
  }
  return absl::NotFoundError(absl::StrCat("no experiment '", name, "'"));
}

absl::StatusOr<std::string> MlflowApi::CreateExperiment(const std::string& name) {
  ASSIGN_OR_RETURN(const json::object answer, Call("experiments/create", {{"name", name}}));
  return Id(answer.if_contains("experiment_id"), "experiment_id");
}

absl::StatusOr<std::string> MlflowApi::FindRun(const std::string& experiment,
                                               const std::string& key) {
  json::array experiments;
  experiments.push_back(json::value(experiment));
  ASSIGN_OR_RETURN(
      const json::object answer,
      Call("runs/search", {{"experiment_ids", std::move(experiments)},
                           {"filter", absl::StrCat("tags.`", kKeyTag, "` = '", key, "'")},
                           {"max_results", 1}}));
  const json::value* const found = answer.if_contains("runs");
  if (found != nullptr && !found->is_array()) return NoAnswer("runs is no list");
  if (found == nullptr || found->get_array().empty()) {
    return absl::NotFoundError("no run of this key");
  }
  return RunId(found->get_array().front().if_object());
}

absl::StatusOr<std::string> MlflowApi::CreateRun(const std::string& experiment,
                                                 const RunRecord& record) {
  const NamedValues key = {{kKeyTag, record.key}};
  ASSIGN_OR_RETURN(const json::object answer,
                   Call("runs/create", {{"experiment_id", experiment},
                                        {"run_name", record.options.run_name},
                                        {"start_time", record.started},
                                        {"tags", Pairs(key)}}));
  return RunId(ObjectAt(&answer, "run"));
}

absl::Status MlflowApi::UpdateRun(const std::string& run, const std::string& status,
                                  std::int64_t ended) {
  json::object body{{"run_id", run}, {"status", status}};
  if (ended != 0) body["end_time"] = ended;
  return Call("runs/update", body).status();
}

absl::Status MlflowApi::LogMetrics(const std::string& run, const std::vector<MetricPoint>& points) {
  json::array metrics;
  for (const MetricPoint& point : points) {
    metrics.push_back({{"key", point.name},
                       {"value", point.value},
                       {"timestamp", point.millis},
                       {"step", point.step}});
  }
  return Call("runs/log-batch", {{"run_id", run}, {"metrics", std::move(metrics)}}).status();
}

absl::Status MlflowApi::LogParams(const std::string& run, const NamedValues& params) {
  return Call("runs/log-batch", {{"run_id", run}, {"params", Pairs(params)}}).status();
}

absl::Status MlflowApi::SetTags(const std::string& run,
                                const std::map<std::string, std::string>& tags) {
  return Call("runs/log-batch", {{"run_id", run}, {"tags", Pairs(tags)}}).status();
}

}  // namespace llava::training
