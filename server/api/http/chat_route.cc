#include "server/api/http/chat_route.h"

#include <atomic>
#include <boost/json/serialize.hpp>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
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
  return absl::IsCancelled(status) ? ClientHasGone() : status;
}

// What is asked for: answers, or how likely given ones are.
enum class Kind { kChat, kScore };

// One POST of /v1/chat/completions or /v1/score. Lives in the coroutine's frame.
class Completion {
 public:
  Completion(ChatRunner* runner, ImageFetcher* fetcher, const std::string& build, Kind kind,
             HttpExchange* exchange)
      : runner_(runner), fetcher_(fetcher), build_(build), kind_(kind), exchange_(exchange) {}

  awaitable<void> Run() {
    arrival_ = runner_->clock().Now();
    exchange_->WatchClient([this] {
      cancelled_->store(true);
      if (started_) answer_.Cancel();
    });
    if (exchange_->request().body().size() <= kSmallBody) {
      Parse();
    } else {
      co_await ParseInPool();
    }
    if (status_.ok() && !parsed_.remote.empty()) co_await FetchImages();
    if (status_.ok() && !has_answer_) co_await Start();
    DropRequest();
    if (!status_.ok()) {
      HttpResponse response = ErrorResponse(Explained(status_));
      co_await exchange_->Send(std::move(response));
      co_return;
    }
    Begin();
    if (kind_ == Kind::kScore) {
      co_await SendScores();
    } else if (parsed_.stream) {
      co_await SendStream();
    } else {
      co_await SendWhole();
    }
  }

 private:
  // Here or in a prepare thread.
  void Parse() {
    const auto parse = kind_ == Kind::kChat ? ParseOpenAiRequest : ParseScoreRequest;
    auto parsed =
        parse(HeaderOf(exchange_->request(), "content-type"), exchange_->request().body());
    status_ = parsed.status();
    if (parsed.ok()) parsed_ = *std::move(parsed);
    n_ = parsed_.call.n;
    if (status_.ok()) SetTenant();
  }

  // A large body is read in the prepare pool; and prepared in the same visit, unless it has images
  // that are to be fetched first.
  awaitable<void> ParseInPool() {
    std::function<void(std::function<void()>)> start = [&](const std::function<void()>& done) {
      const auto tenant = TenantOfHeader(*exchange_);
      if (!tenant.ok()) {
        status_ = tenant.status();
        return done();
      }
      const bool submitted = runner_->ReadInPool(*tenant, [this, done] {
        if (cancelled_->load()) {
          status_ = ClientHasGone();
          return done();
        }
        Parse();
        if (!status_.ok() || !parsed_.remote.empty()) return done();
        runner_->StartInPool(TakeCall(), KeepAnswer(done));
      });
      if (submitted) return;
      status_ = scheduling::WithRetryAfter(
          absl::ResourceExhaustedError("too many requests wait to be read"),
          std::chrono::seconds(1));
      done();
    };
    co_await WaitFor(exchange_->executor(), start);
  }

  awaitable<void> FetchImages() {
    const boost::asio::any_io_executor executor = exchange_->executor();
    status_ = co_await fetcher_->Fetch(executor, exchange_->owner(), &parsed_, &fetched_);
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
    return TenantOfHeader(*exchange_);
  }

  // Leaves a refusal in status_.
  void SetTenant() {
    auto tenant = Tenant(parsed_.call.tenant);
    status_ = tenant.status();
    if (tenant.ok()) parsed_.call.tenant = *std::move(tenant);
  }

  awaitable<void> Start() {
    std::function<void(std::function<void()>)> start = [&](const std::function<void()>& done) {
      runner_->Start(TakeCall(), KeepAnswer(done));
    };
    co_await WaitFor(exchange_->executor(), start);
  }

  // What was parsed, and what stands beside it in the header.
  ChatCall TakeCall() {
    ChatCall call = std::move(parsed_.call);
    call.arrival = arrival_;
    call.request_id = exchange_->request_id();
    call.traceparent = HeaderOf(exchange_->request(), "traceparent");
    call.cancelled = cancelled_;
    return call;
  }

  // Leaves a refusal in status_.
  ChatRunner::Done KeepAnswer(const std::function<void()>& done) {
    return [this, done](absl::StatusOr<Answer> answer) {
      status_ = answer.status();
      if (answer.ok()) answer_ = *std::move(answer);
      has_answer_ = true;
      done();
    };
  }

  // The prompt is made, or will not be: its bytes are free for other requests.
  void DropRequest() {
    exchange_->DropBody();
    parsed_.image_bytes.clear();
    fetched_.clear();
  }

  void Begin() {
    started_ = true;
    if (cancelled_->load()) answer_.Cancel();
    head_ = {
        .id = absl::StrCat(kind_ == Kind::kChat ? "chatcmpl-" : "score-", exchange_->request_id()),
        .created = runner_->clock().UnixMillis() / 1000,
        .model = answer_.model().name,
        .version = answer_.model().version,
        .fingerprint =
            absl::StrCat(answer_.model().version, "-", build_, "-", answer_.model().number_format),
        .token_ids = parsed_.token_ids,
        .logprobs = parsed_.logprobs,
        .usage = parsed_.include_usage};
  }

  awaitable<AnswerEvent> Next() {
    std::optional<AnswerEvent> event;
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
      AnswerEvent event = co_await Next();
      if (const auto* delta = std::get_if<AnswerDelta>(&event)) {
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

  awaitable<void> SendScores() {
    Scores scores(answer_.scored_tokens());
    AnswerEvent event = co_await Next();
    while (const auto* delta = std::get_if<AnswerDelta>(&event)) {
      scores.Add(*delta);
      event = co_await Next();
    }
    const auto& end = std::get<engine::End>(event);
    const absl::Status status = end.status.ok() ? scores.Check() : Explained(end.status);
    HttpResponse response = status.ok()
                                ? JsonResponse(ToScores(head_, scores, end.usage, tokenizer()))
                                : ErrorResponse(status);
    response.set("X-Model-Version", head_.version);
    co_await exchange_->Send(std::move(response));
  }

  // An answer that cannot even begin is an error response; later errors are events.
  awaitable<void> SendStream() {
    AnswerEvent event = co_await Next();
    if (const auto* end = std::get_if<engine::End>(&event); end && !end->status.ok()) {
      HttpResponse response = ErrorResponse(Explained(end->status));
      co_await exchange_->Send(std::move(response));
      co_return;
    }
    HttpResponse head = MakeResponse(http::status::ok, "text/event-stream; charset=utf-8", "");
    head.set(http::field::cache_control, "no-cache");
    head.set("X-Accel-Buffering", "no");  // or nginx keeps events until it has a buffer full
    head.set("X-Model-Version", head_.version);
    bool reached = co_await exchange_->StartStream(std::move(head));
    while (std::holds_alternative<AnswerDelta>(event)) {
      const auto& delta = std::get<AnswerDelta>(event);
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
    if (head_.usage) events = ServerSentEvent(UsageChunk(head_, end.usage));
    return events + "data: [DONE]\n\n";
  }

  ChatRunner* const runner_;
  ImageFetcher* const fetcher_;
  const std::string& build_;
  const Kind kind_;
  HttpExchange* const exchange_;
  TimePoint arrival_;
  OpenAiRequest parsed_;
  std::vector<BodyCharge> fetched_;  // of the images in parsed_ that were fetched
  absl::Status status_;
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  int n_ = 1;
  bool has_answer_ = false;  // or it was refused
  bool started_ = false;     // answer_ does not move any more
  Answer answer_;
  OpenAiHead head_;
  std::set<int> begun_;  // choices
};

}  // namespace

void AddChatRoute(ChatRunner* runner, ImageFetcher* fetcher, const std::string& build,
                  HttpRouter* router) {
  const auto add = [&](const char* path, Kind kind) {
    router->Add({http::verb::post, path, rpc::Role::kChat,
                 [runner, fetcher, build, kind](HttpExchange& exchange) -> awaitable<void> {
                   Completion completion(runner, fetcher, build, kind, &exchange);
                   co_await completion.Run();
                 }});
  };
  add("/v1/chat/completions", Kind::kChat);
  add("/v1/score", Kind::kScore);
}

}  // namespace llava::api
