#include "server/api/http/feedback_routes.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <chrono>
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "server/api/http/awaiting.h"
#include "server/api/openai/json_body.h"
#include "server/chat/feedback.h"

namespace llava::api {
namespace {

namespace http = boost::beast::http;
namespace json = boost::json;
using boost::asio::awaitable;

constexpr char kPath[] = "/v1/feedback";

using Done = std::function<void(absl::StatusOr<json::object>)>;

// One request: calls `done` once, in any thread.
using Starter = std::function<void(capture::Recorder& recorder, const HttpRequest& request,
                                   const std::string& tenant, const Done& done)>;

HttpResponse JsonResponse(const json::object& body) {
  return MakeResponse(http::status::ok, "application/json", json::serialize(body));
}

absl::StatusOr<std::string> TextAt(const json::object& body, const char* field, bool required) {
  const json::value* value = body.if_contains(field);
  if (value == nullptr || value->is_null()) {
    return required ? absl::StatusOr<std::string>(Missing(field, "text")) : std::string();
  }
  if (!value->is_string()) return Wrong(field, *value, "text");
  return std::string(value->as_string());
}

struct Given {
  std::string id;      // as the client has it
  std::string answer;  // as the server has it
  capture::Verdict verdict;
};

absl::StatusOr<Given> ParseFeedback(const std::string& text) {
  ASSIGN_OR_RETURN(const json::object body, ParseJsonObject(text));
  for (const auto& [key, value] : body) {
    if (key != "id" && key != "verdict" && key != "correction") {
      return FieldError(Utf8Repair(std::string(key).substr(0, 64)), "is not a known field");
    }
  }
  Given given;
  ASSIGN_OR_RETURN(given.id, TextAt(body, "id", true));
  ASSIGN_OR_RETURN(given.answer, AnswerOf(given.id));
  ASSIGN_OR_RETURN(const std::string verdict, TextAt(body, "verdict", true));
  ASSIGN_OR_RETURN(given.verdict.thumb, capture::ParseThumb(verdict));
  ASSIGN_OR_RETURN(given.verdict.correction, TextAt(body, "correction", false));
  return given;
}

void Give(capture::Recorder& recorder, const HttpRequest& request, const std::string& tenant,
          const Done& done) {
  auto given = ParseFeedback(request.body());
  if (!given.ok()) return done(given.status());
  json::object answer = {{"object", "feedback"},
                         {"id", given->id},
                         {"verdict", std::string(capture::ThumbName(given->verdict.thumb))}};
  recorder.Judge(tenant, given->answer, std::move(given->verdict),
                 [done, answer = std::move(answer)](const absl::Status& status) {
                   status.ok() ? done(answer) : done(status);
                 });
}

// Where nothing is captured, that is what a page has to know.
json::object TermsOf(const capture::Recorder* recorder, const std::string& tenant) {
  auto agreement = capture::Agreement::kNothing;
  if (recorder != nullptr) agreement = recorder->AgreedBy(tenant);
  const bool is_kept = agreement != capture::Agreement::kNothing;
  const Duration retention = is_kept ? recorder->retention() : Duration();
  return {
      {"object", "feedback.terms"},
      {"texts", is_kept},
      {"pictures", agreement == capture::Agreement::kPictures},
      {"retention_seconds", std::chrono::duration_cast<std::chrono::seconds>(retention).count()}};
}

awaitable<void> GetTerms(const capture::Recorder* recorder, HttpExchange& exchange) {
  const auto tenant = TenantOfHeader(exchange);
  HttpResponse response = tenant.ok() ? JsonResponse(TermsOf(recorder, NamedTenant(*tenant)))
                                      : ErrorResponse(tenant.status());
  co_await exchange.Send(std::move(response));
}

void Forget(capture::Recorder& recorder, const HttpRequest& request, const std::string& tenant,
            const Done& done) {
  const std::string id = PathOf(request)->substr(sizeof(kPath));  // with its slash
  const auto answer = AnswerOf(id);
  if (!answer.ok()) return done(answer.status());
  recorder.Remove(tenant, *answer, [done, id](const absl::StatusOr<capture::Removed>& removed) {
    if (!removed.ok()) return done(removed.status());
    done(json::object{{"object", "feedback.forgotten"},
                      {"id", id},
                      {"rows_deleted", removed->deleted},
                      {"rows_kept", removed->kept},
                      {"versions", json::value_from(removed->versions)},
                      {"runs", removed->runs.size()}});
  });
}

absl::StatusOr<std::string> Tenant(const capture::Recorder* recorder, HttpExchange& exchange) {
  ASSIGN_OR_RETURN(const std::string tenant, TenantOfHeader(exchange));
  if (recorder == nullptr) return NothingIsCaptured();
  return NamedTenant(tenant);
}

awaitable<void> Answer(capture::Recorder* recorder, Starter starter, HttpExchange& exchange) {
  absl::StatusOr<json::object> answer = json::object();
  const auto tenant = Tenant(recorder, exchange);
  if (tenant.ok()) {
    std::function<void(std::function<void()>)> start = [&](const std::function<void()>& done) {
      starter(*recorder, exchange.request(), *tenant,
              [&answer, done](absl::StatusOr<json::object> made) {
                answer = std::move(made);
                done();
              });
    };
    co_await WaitFor(exchange.executor(), start);
  } else {
    answer = tenant.status();
  }
  exchange.DropBody();
  HttpResponse response =
      answer.ok() ? JsonResponse(*answer) : ErrorResponse(WithTimeToRetry(answer.status()));
  co_await exchange.Send(std::move(response));
}

}  // namespace

void AddFeedbackRoutes(capture::Recorder* recorder, HttpRouter* router) {
  const auto add = [&](http::verb method, const std::string& path, const Starter& starter) {
    router->Add({method, path, rpc::Role::kChat,
                 [recorder, starter](HttpExchange& exchange) -> awaitable<void> {
                   co_await Answer(recorder, starter, exchange);
                 }});
  };
  add(http::verb::post, kPath, Give);
  router->Add({http::verb::get, kPath, rpc::Role::kChat,
               [recorder](HttpExchange& exchange) -> awaitable<void> {
                 co_await GetTerms(recorder, exchange);
               }});
  add(http::verb::delete_, absl::StrCat(kPath, "/{id}"), Forget);
}

}  // namespace llava::api
