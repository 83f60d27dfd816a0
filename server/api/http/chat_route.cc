#include "server/api/http/chat_route.h"

#include <atomic>
#include <boost/json/serialize.hpp>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/api/http/awaiting.h"
#include "server/api/openai/request.h"
#include "server/api/openai/response.h"
#include "server/chat/api_error.h"

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

// A client that only closed its sending half still reads.
absl::Status Explained(const absl::Status& status) {
  if (!absl::IsCancelled(status)) return status;
  return absl::CancelledError(
      "a client that closes its sending half counts as gone: keep it open until the answer is "
      "here");
}

// One POST of /v1/chat/completions. Lives in the coroutine's frame.
class Completion {
 public:
  Completion(ChatRunner* runner, PreparePool* pool, ImageFetcher* fetcher, HttpExchange* exchange)
      : runner_(runner), pool_(pool), fetcher_(fetcher), exchange_(exchange) {}

  awaitable<void> Run() {
    arrival_ = runner_->clock().Now();
    co_await Parse();
    if (parsed_.ok()) SetTenant();
    if (parsed_.ok() && !parsed_->remote.empty()) co_await FetchImages();
    if (parsed_.ok()) co_await Start();
    if (!parsed_.ok()) {
      HttpResponse response = ErrorResponse(Explained(parsed_.status()));
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
    const std::string type = HeaderOf(exchange_->request(), "content-type");
    if (body.size() <= kSmallBody) {
      parsed_ = ParseOpenAiRequest(type, body);
      co_return;
    }
    std::function<void(std::function<void()>)> start = [&](const std::function<void()>& done) {
      const bool submitted = pool_->TrySubmit([this, &type, &body, done] {
        parsed_ = ParseOpenAiRequest(type, body);
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

  awaitable<void> FetchImages() {
    const boost::asio::any_io_executor executor = exchange_->executor();
    absl::Status status = co_await fetcher_->Fetch(executor, &*parsed_, &fetched_);
    if (!status.ok()) parsed_ = std::move(status);
  }

  // OpenAI's `user` says which of its own users a client asks for, so a token that may not name
  // tenants may send it all the same: it says nothing then.
  absl::StatusOr<std::string> Tenant(const std::string& user) {
    const rpc::Caller& caller = exchange_->caller();
    if (!user.empty() && caller.may_name_tenants) {
      const absl::Status named = rpc::CheckName(user);
      if (!named.ok()) return FieldError("user", named.message());
      return user;
    }
    auto tenant = rpc::TenantOf(caller, HeaderOf(exchange_->request(), "x-tenant"));
    if (absl::IsInvalidArgument(tenant.status())) {
      return FieldError("X-Tenant", tenant.status().message());
    }
    return tenant;
  }

  // Leaves the refusal in parsed_.
  void SetTenant() {
    auto tenant = Tenant(parsed_->call.tenant);
    if (tenant.ok()) {
      parsed_->call.tenant = *std::move(tenant);
    } else {
      parsed_ = tenant.status();
    }
  }

  // Leaves the refusal in parsed_.
  awaitable<void> Start() {
    ChatCall call = parsed_->call;
    call.arrival = arrival_;
    call.request_id = exchange_->request_id();
    call.cancelled = cancelled_;
    n_ = call.n;
    exchange_->WatchClient([this] {
      cancelled_->store(true);
      if (started_) answer_.Cancel();
    });
    absl::Status status;
    std::function<void(std::function<void()>)> start = [&](const std::function<void()>& done) {
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
      std::function<void(std::function<void()>)> start = [&](const std::function<void()>& done) {
        event = answer_.TryPop(done);
        if (event.has_value()) done();
      };
      co_await WaitFor(exchange_->executor(), start);
    }
    co_return *std::move(event);
  }

  const model::Tokenizer& tokenizer() const { return answer_.model().processor->tokenizer(); }

  awaitable<void> SendWhole() {
    OpenAiAnswer whole(head_, n_);
    for (;;) {
      engine::StreamEvent event = co_await Next();
      if (const auto* delta = std::get_if<engine::Delta>(&event)) {
        whole.Add(*delta, tokenizer());
        continue;
      }
      const auto& end = std::get<engine::End>(event);
      HttpResponse response = end.status.ok() ? JsonResponse(whole.Finish(end.usage))
                                              : ErrorResponse(Explained(end.status));
      response.set("X-Model-Version", head_.version);
      co_await exchange_->Send(std::move(response));
      co_return;
    }
  }

  // An answer that cannot even begin is an error response; later errors are events.
  awaitable<void> SendStream() {
    engine::StreamEvent event = co_await Next();
    if (const auto* end = std::get_if<engine::End>(&event); end && !end->status.ok()) {
      HttpResponse response = ErrorResponse(Explained(end->status));
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
    if (!end.status.ok()) {
      return absl::StrCat("data: ", ErrorResponse(Explained(end.status)).body(), "\n\n");
    }
    std::string events;
    if (parsed_->include_usage) events = ServerSentEvent(UsageChunk(head_, end.usage));
    return events + "data: [DONE]\n\n";
  }

  ChatRunner* const runner_;
  PreparePool* const pool_;
  ImageFetcher* const fetcher_;
  HttpExchange* const exchange_;
  TimePoint arrival_;
  ImageFetcher::Budget fetched_;
  absl::StatusOr<OpenAiRequest> parsed_ = absl::UnknownError("not parsed");
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  int n_ = 1;
  bool started_ = false;
  Answer answer_;
  OpenAiHead head_;
  std::set<int> begun_;  // choices
};

}  // namespace

void AddChatRoute(ChatRunner* runner, PreparePool* pool, ImageFetcher* fetcher,
                  HttpRouter* router) {
  router->Add({http::verb::post, "/v1/chat/completions", rpc::Role::kChat,
               [runner, pool, fetcher](HttpExchange& exchange) -> awaitable<void> {
                 Completion completion(runner, pool, fetcher, &exchange);
                 co_await completion.Run();
               }});
}

}  // namespace llava::api
