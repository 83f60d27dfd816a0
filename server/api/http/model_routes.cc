#include "server/api/http/model_routes.h"

#include <algorithm>
#include <atomic>
#include <boost/json/serialize.hpp>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "server/api/http/awaiting.h"
#include "server/api/openai/json_body.h"
#include "server/chat/model_choice.h"

namespace llava::api {
namespace {

namespace http = boost::beast::http;
namespace json = boost::json;
using boost::asio::awaitable;

HttpResponse JsonResponse(const json::object& body) {
  return MakeResponse(http::status::ok, "application/json", json::serialize(body));
}

// `id` is the model's name or an alias; "root" is always its name. An adapter has its model as
// "parent".
json::object ToModel(const registry::ServedModel& model, const std::string& id) {
  json::object entry = {{"id", id},
                        {"object", "model"},
                        {"created", 0},
                        {"owned_by", "llavad"},
                        {"root", model.name},
                        {"version", model.version},
                        {"max_model_len", model.processor->config().text.max_positions}};
  if (model.base != nullptr) entry["parent"] = model.base->name;
  return entry;
}

// By their own names first: clients that take any model take the first.
json::object ListModels(ChatRunner& runner) {
  const auto models = runner.models().List();
  json::array entries;
  for (const auto& model : models) entries.push_back(ToModel(*model, model->name));
  for (const auto& model : models) {
    for (const std::string& alias : model->aliases) entries.push_back(ToModel(*model, alias));
  }
  return {{"object", "list"}, {"data", std::move(entries)}};
}

constexpr absl::string_view kModelPath = "/v1/models/";

// The model that the path names, as a chat request would.
HttpResponse OneModel(ChatRunner& runner, const HttpRequest& request) {
  const std::string name = PathOf(request)->substr(kModelPath.size());
  const auto model = ChooseModel(runner.models(), name, "");
  if (!model.ok()) return ErrorResponse(WithField(model.status(), "model"));
  return JsonResponse(ToModel(**model, name.empty() ? (*model)->name : name));
}

// A field that is there; null is the same as absent.
const json::value* Given(const json::object& body, const char* field) {
  const json::value* value = body.if_contains(field);
  return value == nullptr || value->is_null() ? nullptr : value;
}

// The model of a body that has no other field than these.
absl::StatusOr<std::shared_ptr<const registry::ServedModel>> FindModel(
    ChatRunner& runner, const json::object& body, std::initializer_list<absl::string_view> fields) {
  for (const auto& [key, value] : body) {
    if (std::find(fields.begin(), fields.end(), AbslView(key)) == fields.end()) {
      return FieldError(Utf8Repair(std::string(key).substr(0, 64)), "is not a known field");
    }
  }
  const json::value* name = Given(body, "model");
  if (name != nullptr && !name->is_string()) return Wrong("model", name, "text");
  return ChooseModel(runner.models(), name == nullptr ? "" : std::string(name->as_string()), "");
}

// {"prompt": text, "add_special_tokens": true} -> {"tokens", "count", "max_model_len"}
absl::StatusOr<json::object> Tokenize(ChatRunner& runner, const std::string& text) {
  ASSIGN_OR_RETURN(const json::object body, ParseJsonObject(text));
  ASSIGN_OR_RETURN(const auto model,
                   FindModel(runner, body, {"model", "prompt", "add_special_tokens"}));
  const json::value* prompt = body.if_contains("prompt");
  if (prompt == nullptr || !prompt->is_string()) return Wrong("prompt", prompt, "text");
  const auto most = static_cast<std::size_t>(runner.limits().max_text_bytes);
  if (prompt->as_string().size() > most) {
    return FieldError("prompt", absl::StrCat(prompt->as_string().size(),
                                             " bytes of text, expected at most ", most));
  }
  const json::value* special = Given(body, "add_special_tokens");
  if (special != nullptr && !special->is_bool()) {
    return Wrong("add_special_tokens", special, "true or false");
  }
  const model::Tokenizer& tokenizer = model->processor->tokenizer();
  json::array tokens;
  if ((special == nullptr || special->as_bool()) && tokenizer.adds_bos()) {
    tokens.push_back(tokenizer.bos_id());
  }
  for (const int id : tokenizer.Encode(std::string_view(prompt->as_string()))) tokens.push_back(id);
  return json::object{{"count", tokens.size()},
                      {"max_model_len", model->processor->config().text.max_positions},
                      {"tokens", std::move(tokens)}};
}

// {"tokens": [...]} -> {"prompt": text}
absl::StatusOr<json::object> Detokenize(ChatRunner& runner, const std::string& text) {
  ASSIGN_OR_RETURN(const json::object body, ParseJsonObject(text));
  ASSIGN_OR_RETURN(const auto model, FindModel(runner, body, {"model", "tokens"}));
  const json::value* tokens = body.if_contains("tokens");
  if (tokens == nullptr || !tokens->is_array()) {
    return Wrong("tokens", tokens, "a list of token ids");
  }
  std::vector<int> ids;
  const int size = model->processor->tokenizer().vocab_size();
  for (std::size_t i = 0; i < tokens->as_array().size(); ++i) {
    const std::optional<std::int64_t> id = WholeNumber(tokens->as_array()[i]);
    if (!id || *id < 0 || *id >= size) {
      return Wrong(absl::StrCat("tokens[", i, "]"), tokens->as_array()[i],
                   absl::StrCat("a token id in [0, ", size - 1, "]"));
    }
    ids.push_back(static_cast<int>(*id));
  }
  return json::object{{"prompt", model->processor->tokenizer().Decode(ids)}};
}

using Answerer = absl::StatusOr<json::object> (*)(ChatRunner&, const std::string&);

// The answer is made in a prepare thread, within the bounds of admission; for a client that has
// gone meanwhile, it is not.
awaitable<void> AnswerInPool(ChatRunner* runner, Answerer answerer, HttpExchange& exchange) {
  auto gone = std::make_shared<std::atomic<bool>>(false);
  exchange.WatchClient([gone] { gone->store(true); });
  const std::string& body = exchange.request().body();
  const auto tenant = TenantOfHeader(exchange);
  if (!tenant.ok()) {
    HttpResponse refusal = ErrorResponse(tenant.status());
    co_await exchange.Send(std::move(refusal));
    co_return;
  }
  absl::StatusOr<json::object> answer = ClientHasGone();
  std::function<void(std::function<void()>)> start = [&](const std::function<void()>& done) {
    const auto work = [&] {
      if (!gone->load()) answer = answerer(*runner, body);
    };
    const absl::Status submitted =
        runner->RunBeside(*tenant, static_cast<std::int64_t>(body.size()), work, done);
    if (submitted.ok()) return;
    answer = submitted;
    done();
  };
  co_await WaitFor(exchange.executor(), start);
  exchange.DropBody();
  HttpResponse response = answer.ok() ? JsonResponse(*answer) : ErrorResponse(answer.status());
  co_await exchange.Send(std::move(response));
}

HttpRoute PostJson(const char* path, ChatRunner* runner, Answerer answerer) {
  return {http::verb::post, path, rpc::Role::kChat,
          [runner, answerer](HttpExchange& exchange) -> awaitable<void> {
            co_await AnswerInPool(runner, answerer, exchange);
          }};
}

}  // namespace

void AddModelRoutes(ChatRunner* runner, HttpRouter* router) {
  router->Add({http::verb::get, "/v1/models", rpc::Role::kChat,
               [runner](HttpExchange& exchange) -> awaitable<void> {
                 HttpResponse response = JsonResponse(ListModels(*runner));
                 co_await exchange.Send(std::move(response));
               }});
  router->Add({http::verb::get, absl::StrCat(kModelPath, "{model*}"), rpc::Role::kChat,
               [runner](HttpExchange& exchange) -> awaitable<void> {
                 HttpResponse response = OneModel(*runner, exchange.request());
                 co_await exchange.Send(std::move(response));
               }});
  router->Add(PostJson("/tokenize", runner, Tokenize));
  router->Add(PostJson("/detokenize", runner, Detokenize));
}

}  // namespace llava::api
