#include "server/api/http/openai_routes.h"

#include <atomic>
#include <boost/json/serialize.hpp>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/api/api_error.h"
#include "server/api/http/awaiting.h"
#include "server/api/http/openai_request.h"
#include "server/api/http/openai_response.h"

namespace llava::api {
namespace {

namespace http = boost::beast::http;
namespace json = boost::json;
using boost::asio::awaitable;

// Smaller bodies are read at once.
constexpr std::size_t kSmallBody = 64 << 10;

HttpResponse JsonResponse(const json::object& body) {
  return MakeResponse(http::status::ok, "application/json", json::serialize(body));
}

std::string ServerSentEvent(const json::object& event) {
  return absl::StrCat("data: ", json::serialize(event), "\n\n");
}

// One POST of /v1/chat/completions. Lives in the coroutine's frame.
class Completion {
 public:
  Completion(ChatRunner* runner, PreparePool* pool, HttpExchange* exchange)
      : runner_(runner), pool_(pool), exchange_(exchange) {}

  awaitable<void> Run() {
    arrival_ = runner_->clock().Now();
    co_await Parse();
    if (parsed_.ok()) co_await Start();
    if (!parsed_.ok()) {
      HttpResponse response = ErrorResponse(parsed_.status());
      co_await exchange_->Send(std::move(response));
      co_return;
    }
    if (parsed_->stream) {
      co_await SendStream();
    } else {
      co_await SendWhole();
    }
  }

 private:
  awaitable<void> Parse() {
    const std::string& body = exchange_->request().body();
    if (body.size() <= kSmallBody) {
      parsed_ = ParseOpenAiRequest(body);
      co_return;
    }
    std::function<void(std::function<void()>)> start = [&](std::function<void()> done) {
      const bool submitted = pool_->TrySubmit([this, &body, done] {
        parsed_ = ParseOpenAiRequest(body);
        done();
      });
      if (submitted) return;
      parsed_ = scheduling::WithRetryAfter(
          absl::ResourceExhaustedError("too many requests wait to be read"),
          std::chrono::seconds(1));
      done();
    };
    co_await WaitFor(exchange_->executor(), start);
  }

  // Leaves the refusal in parsed_.
  awaitable<void> Start() {
    ChatCall call = parsed_->call;
    call.arrival = arrival_;
    call.request_id = exchange_->request_id();
    if (call.tenant.empty()) call.tenant = HeaderOf(exchange_->request(), "x-tenant");
    if (call.tenant.empty()) call.tenant = exchange_->caller();
    call.cancelled = cancelled_;
    n_ = call.n;
    exchange_->WatchClient([this] {
      cancelled_->store(true);
      if (started_) answer_.Cancel();
    });
    absl::Status status;
    std::function<void(std::function<void()>)> start = [&](std::function<void()> done) {
      runner_->Start(std::move(call), [this, &status, done](absl::StatusOr<Answer> answer) {
        if (answer.ok()) {
          answer_ = *std::move(answer);
        } else {
          status = answer.status();
        }
        done();
      });
    };
    co_await WaitFor(exchange_->executor(), start);
    if (!status.ok()) {
      parsed_ = status;
      co_return;
    }
    started_ = true;
    if (cancelled_->load()) answer_.Cancel();
    head_ = {.id = absl::StrCat("chatcmpl-", exchange_->request_id()),
             .created = runner_->clock().UnixMillis() / 1000,
             .model = answer_.model().name,
             .version = answer_.model().version,
             .token_ids = parsed_->token_ids,
             .logprobs = parsed_->logprobs};
  }

  awaitable<engine::StreamEvent> Next() {
    std::optional<engine::StreamEvent> event;
    while (!event.has_value()) {
      std::function<void(std::function<void()>)> start = [&](std::function<void()> done) {
        event = answer_.TryPop(done);
        if (event.has_value()) done();
      };
      co_await WaitFor(exchange_->executor(), start);
    }
    co_return *std::move(event);
  }

  const model::Tokenizer& tokenizer() const { return answer_.model().preparer->tokenizer(); }

  awaitable<void> SendWhole() {
    OpenAiAnswer whole(head_, n_);
    for (;;) {
      engine::StreamEvent event = co_await Next();
      if (const auto* delta = std::get_if<engine::Delta>(&event)) {
        whole.Add(*delta, tokenizer());
        continue;
      }
      const auto& end = std::get<engine::End>(event);
      HttpResponse response =
          end.status.ok() ? JsonResponse(whole.Finish(end.usage)) : ErrorResponse(end.status);
      response.set("X-Model-Version", head_.version);
      co_await exchange_->Send(std::move(response));
      co_return;
    }
  }

  // An answer that cannot even begin is an error response; later errors are events.
  awaitable<void> SendStream() {
    engine::StreamEvent event = co_await Next();
    if (const auto* end = std::get_if<engine::End>(&event); end && !end->status.ok()) {
      HttpResponse response = ErrorResponse(end->status);
      co_await exchange_->Send(std::move(response));
      co_return;
    }
    HttpResponse head = MakeResponse(http::status::ok, "text/event-stream; charset=utf-8", "");
    head.set(http::field::cache_control, "no-cache");
    head.set("X-Model-Version", head_.version);
    bool reached = co_await exchange_->StartStream(std::move(head));
    while (std::holds_alternative<engine::Delta>(event)) {
      const auto& delta = std::get<engine::Delta>(event);
      const bool first = begun_.insert(delta.choice).second;
      std::string text = ServerSentEvent(ToChunk(head_, delta, first, tokenizer()));
      if (reached) reached = co_await exchange_->SendChunk(std::move(text));
      if (!reached) answer_.Cancel();
      event = co_await Next();
    }
    if (!reached) co_return;
    std::string last = LastEvents(std::get<engine::End>(event));
    co_await exchange_->SendChunk(std::move(last));
    co_await exchange_->EndStream();
  }

  std::string LastEvents(const engine::End& end) const {
    if (!end.status.ok()) return absl::StrCat("data: ", ErrorResponse(end.status).body(), "\n\n");
    std::string events;
    if (parsed_->include_usage) events = ServerSentEvent(UsageChunk(head_, end.usage));
    return events + "data: [DONE]\n\n";
  }

  ChatRunner* const runner_;
  PreparePool* const pool_;
  HttpExchange* const exchange_;
  TimePoint arrival_;
  absl::StatusOr<OpenAiRequest> parsed_ = absl::UnknownError("not parsed");
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  int n_ = 1;
  bool started_ = false;
  Answer answer_;
  OpenAiHead head_;
  std::set<int> begun_;  // choices
};

json::object ListModels(ChatRunner& runner) {
  json::array models;
  for (const auto& model : runner.models().List()) {
    models.push_back({{"id", model->name},
                      {"object", "model"},
                      {"created", 0},
                      {"owned_by", "llavad"},
                      {"version", model->version},
                      {"max_model_len", model->preparer->config().text.max_positions}});
  }
  return {{"object", "list"}, {"data", std::move(models)}};
}

absl::StatusOr<std::shared_ptr<const registry::ServedModel>> FindModel(ChatRunner& runner,
                                                                       const json::object& body) {
  const json::value* name = body.if_contains("model");
  if (name != nullptr && !name->is_string()) return FieldError("model", "expected text");
  return runner.models().Find(name == nullptr ? "" : std::string(name->as_string()), "");
}

// {"prompt": text, "add_special_tokens": true} -> {"tokens", "count", "max_model_len"}
absl::StatusOr<json::object> Tokenize(ChatRunner& runner, const std::string& text) {
  ASSIGN_OR_RETURN(const json::object body, ParseJsonObject(text));
  ASSIGN_OR_RETURN(const auto model, FindModel(runner, body));
  const json::value* prompt = body.if_contains("prompt");
  if (prompt == nullptr || !prompt->is_string()) return FieldError("prompt", "expected text");
  const json::value* special = body.if_contains("add_special_tokens");
  if (special != nullptr && !special->is_bool()) {
    return FieldError("add_special_tokens", "expected true or false");
  }
  const model::Tokenizer& tokenizer = model->preparer->tokenizer();
  json::array tokens;
  if ((special == nullptr || special->as_bool()) && tokenizer.adds_bos()) {
    tokens.push_back(tokenizer.bos_id());
  }
  for (const int id : tokenizer.Encode(std::string_view(prompt->as_string()))) tokens.push_back(id);
  return json::object{{"count", tokens.size()},
                      {"max_model_len", model->preparer->config().text.max_positions},
                      {"tokens", std::move(tokens)}};
}

// {"tokens": [...]} -> {"prompt": text}
absl::StatusOr<json::object> Detokenize(ChatRunner& runner, const std::string& text) {
  ASSIGN_OR_RETURN(const json::object body, ParseJsonObject(text));
  ASSIGN_OR_RETURN(const auto model, FindModel(runner, body));
  const json::value* tokens = body.if_contains("tokens");
  if (tokens == nullptr || !tokens->is_array()) {
    return FieldError("tokens", "expected a list of token ids");
  }
  std::vector<int> ids;
  const int size = model->preparer->tokenizer().vocab_size();
  for (std::size_t i = 0; i < tokens->as_array().size(); ++i) {
    const std::int64_t* id = tokens->as_array()[i].if_int64();
    if (id == nullptr || *id < 0 || *id >= size) {
      return FieldError(absl::StrCat("tokens[", i, "]"),
                        absl::StrCat("expected a token id in [0, ", size - 1, "]"));
    }
    ids.push_back(static_cast<int>(*id));
  }
  return json::object{{"prompt", model->preparer->tokenizer().Decode(ids)}};
}

using Answerer = absl::StatusOr<json::object> (*)(ChatRunner&, const std::string&);

HttpRoute PostJson(const char* path, ChatRunner* runner, Answerer answerer) {
  return {http::verb::post, path, Role::kChat,
          [runner, answerer](HttpExchange& exchange) -> awaitable<void> {
            const auto body = answerer(*runner, exchange.request().body());
            HttpResponse response = body.ok() ? JsonResponse(*body) : ErrorResponse(body.status());
            co_await exchange.Send(std::move(response));
          }};
}

}  // namespace

void AddOpenAiRoutes(ChatRunner* runner, PreparePool* pool, HttpRouter* router) {
  router->Add({http::verb::post, "/v1/chat/completions", Role::kChat,
               [runner, pool](HttpExchange& exchange) -> awaitable<void> {
                 Completion completion(runner, pool, &exchange);
                 co_await completion.Run();
               }});
  router->Add({http::verb::get, "/v1/models", Role::kChat,
               [runner](HttpExchange& exchange) -> awaitable<void> {
                 HttpResponse response = JsonResponse(ListModels(*runner));
                 co_await exchange.Send(std::move(response));
               }});
  router->Add(PostJson("/tokenize", runner, Tokenize));
  router->Add(PostJson("/detokenize", runner, Detokenize));
}

}  // namespace llava::api
