#include "training/service/webhook.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "training/endpoint/endpoint_options.h"

namespace llava::training {

namespace {

// "" for none.
absl::StatusOr<std::string> Token(const WebhookOptions& options) {
  EndpointOptions secret;
  secret.api_key_file = options.token_file;
  return LoadApiKey(secret);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Webhook>> Webhook::Start(WebhookOptions options, const Clock& clock,
                                                        OnEnd on_end) {
  absl::StatusOr<HttpTarget> target = ParseUrl(options.url);
  if (!target.ok()) return Annotate(target.status(), "webhook.url");
  const absl::Status token = Token(options).status();
  if (!token.ok()) return Annotate(token, "webhook.token_file");
  return std::unique_ptr<Webhook>(
      new Webhook(std::move(options), *std::move(target), clock, std::move(on_end)));
}

Webhook::Webhook(WebhookOptions options, HttpTarget target, const Clock& clock, OnEnd on_end)
    : options_(std::move(options)),
      target_(std::move(target)),
      clock_(clock),
      on_end_(std::move(on_end)),
      post_(clock),
      thread_([this] { Loop(); }) {}

Webhook::~Webhook() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  post_.Stop();
  thread_.join();
}

void Webhook::Post(WebhookMessage message) {
  MutexLock lock(&mutex_);
  messages_.push_back(std::move(message));
  changed_.NotifyAll();
}

void Webhook::Loop() {
  for (;;) {
    WebhookMessage message;
    {
      MutexLock lock(&mutex_);
      while (!stopping_ && messages_.empty()) changed_.Wait(&mutex_);
      if (stopping_) return;
      message = std::move(messages_.front());
      messages_.pop_front();
    }
    const absl::Status status = Deliver(message);
    if (absl::IsCancelled(status)) return;
    on_end_(message, status);
  }
}

// False when the hook stops meanwhile.
bool Webhook::WaitFor(Duration wait) {
  const TimePoint end = clock_.Now() + wait;
  MutexLock lock(&mutex_);
  while (!stopping_ && clock_.Now() < end) changed_.WaitUntil(&mutex_, end);
  return !stopping_;
}

absl::Status Webhook::Deliver(const WebhookMessage& message) {
  Duration wait = options_.first_wait;
  for (int attempt = 1;; ++attempt) {
    const absl::Status status = Attempt(message);
    const bool ended = status.ok() || absl::IsCancelled(status);
    if (ended || attempt >= options_.attempts) return status;
    if (!WaitFor(wait)) return absl::CancelledError("the service goes down");
    wait = std::min(2 * wait, options_.longest_wait);
  }
}

absl::Status Webhook::Attempt(const WebhookMessage& message) {
  ASSIGN_OR_RETURN(const std::string token, Token(options_));
  const std::string authorization = token.empty() ? "" : absl::StrCat("Bearer ", token);
  const std::string nothing;  // behind the URL's own path
  const HttpPost post{.user_agent = "llava-train",
                      .path = nothing,
                      .body = message.body,
                      .authorization = authorization,
                      .allow_public = false,
                      .idle = options_.timeout,
                      .deadline = clock_.Now() + options_.timeout};
  ASSIGN_OR_RETURN(const HttpAnswer answer, post_.Run(target_, post));
  if (answer.status / 100 == 2) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("answered with HTTP ", answer.status));
}

}  // namespace llava::training
