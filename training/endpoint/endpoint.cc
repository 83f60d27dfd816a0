#include "training/endpoint/endpoint.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cmath>
#include <exception>
#include <optional>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/http/client_tls.h"
#include "base/http/http_exchange.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "training/endpoint/pace.h"

namespace llava::training {
namespace {

namespace asio = boost::asio;
using asio::awaitable;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr Duration kLookAtStop = std::chrono::milliseconds(100);
constexpr std::int64_t kMillisOfASecond = 1000;
constexpr int kMostDoublings = 30;
constexpr std::size_t kLeastSecret = 8;  // what is shorter, as "EMPTY", may be a word of an answer

Duration FromSeconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

// One question on its way.
struct Question {
  std::int64_t index = 0;
  std::string path;
  std::string body;
  std::vector<std::string> choices;  // of which the likeliest is the answer
  Digest key;
  TokenCount worst;
  std::int64_t failures = 0;  // that count
  std::int64_t attempts = 0;
  std::int64_t throttled = 0;  // in a row
};

}  // namespace

class Endpoint::Parts {
 public:
  Parts(EndpointOptions options, std::string key, HttpTarget target, Ledger ledger,
        const Clock* clock)
      : options_(std::move(options)),
        secret_(std::move(key)),
        authorization_(secret_.empty() ? "" : absl::StrCat("Bearer ", secret_)),
        target_(std::move(target)),
        clock_(clock),
        tls_(ClientTls()),
        ledger_(std::move(ledger)),
        cost_before_(ledger_.cost()),
        budget_(options_),
        pace_(options_) {
    budget_.AddSpent(ledger_.spent());
  }

  absl::Status Run(std::int64_t count, const MakeRequest& make, const OnReply& on_reply,
                   const std::atomic<bool>* stop) {
    asked_.clear();
    asio::io_context context;
    asio::steady_timer changed(context, TimePoint::max());
    Job job{context.get_executor(), &make, &on_reply, count, 0, std::nullopt, &changed};
    std::int64_t workers = std::min(count, options_.max_in_flight);
    for (std::int64_t i = workers; i > 0; --i) {
      asio::co_spawn(context, Work(&job), [&workers](const std::exception_ptr& thrown) {
        --workers;
        if (thrown) std::rethrow_exception(thrown);
      });
    }
    while (workers > 0 && !job.ended.has_value()) {
      context.run_one_for(kLookAtStop);
      if (stop != nullptr && stop->load()) job.ended = absl::CancelledError("stopped");
    }
    return job.ended.value_or(absl::OkStatus());
  }

  EndpointStats stats() const {
    EndpointStats stats = stats_;
    stats.spent = ledger_.spent();
    stats.cost = ledger_.cost();
    stats.cost_of_run = ledger_.cost() - cost_before_;
    return stats;
  }

 private:
  // A run.
  struct Job {
    asio::any_io_executor executor;
    const MakeRequest* make;
    const OnReply* on_reply;
    std::int64_t count;
    std::int64_t next;
    std::optional<absl::Status> ended;  // what ends the run before all is asked
    asio::steady_timer* changed;        // never expires; cancelled when a request has ended
  };

  awaitable<void> Work(Job* job) {
    while (job->next < job->count && !job->ended.has_value()) {
      Question question;
      question.index = job->next++;
      const absl::StatusOr<ChatReply> reply = co_await Answer(job, &question);
      if (job->ended.has_value()) co_return;
      const absl::Status taken = (*job->on_reply)(question.index, reply);
      if (!taken.ok()) job->ended = taken;
    }
  }

  absl::Status Prepare(Job* job, Question* question) {
    ASSIGN_OR_RETURN(const ChatRequest request, (*job->make)(question->index));
    ASSIGN_OR_RETURN(question->body, RequestBody(options_.model, request));
    question->path = RequestPath(request);
    question->key = RequestKey(question->body);
    question->worst = {MostPromptTokens(request), request.choices.empty() ? request.max_tokens : 0};
    question->choices = request.choices;
    return absl::OkStatus();
  }

  awaitable<absl::StatusOr<ChatReply>> Answer(Job* job, Question* question) {
    const absl::Status prepared = Prepare(job, question);
    if (!prepared.ok()) co_return prepared;
    while (asked_.contains(question->key)) co_await Pause(job, Pace::kNoPlace);
    if (const ChatReply* known = ledger_.Find(question->key)) {
      ++stats_.cached;
      co_return *known;
    }
    asked_.insert(question->key);
    absl::StatusOr<ChatReply> reply = co_await AskUntilAnswered(job, question);
    asked_.erase(question->key);
    job->changed->cancel();  // those that ask the same look into the ledger again
    co_return reply;
  }

  awaitable<absl::StatusOr<ChatReply>> AskUntilAnswered(Job* job, Question* question) {
    while (true) {
      const Attempt attempt = co_await AskOnce(job, question);
      if (job->ended.has_value()) co_return *job->ended;
      if (attempt.verdict == Verdict::kGood) co_return attempt.reply;
      const absl::Status failed = Judge(attempt, question, job);
      if (!failed.ok()) co_return failed;
      ++stats_.retried;
      asio::steady_timer timer(job->executor);
      timer.expires_after(Backoff(*question));
      [[maybe_unused]] auto [waited] = co_await timer.async_wait(kAwait);
    }
  }

  // Waits until the pace and the budget allow it, and asks.
  awaitable<Attempt> AskOnce(Job* job, Question* question) {
    while (true) {
      if (pace_.HasGivenUp(clock_->Now())) {
        job->ended = absl::UnavailableError(absl::StrCat(
            target_.host, " is given up: it does not answer within ", options_.give_up_seconds,
            " s (give_up_seconds), or asks to wait longer; ", "the last it said: ", last_problem_));
        co_return Attempt{};
      }
      if (!budget_.Reserve(question->worst)) {
        if (pace_.in_flight() == 0) {
          job->ended = absl::ResourceExhaustedError(
              absl::StrCat("the budget is spent: ", budget_.tokens(), " tokens, ", budget_.cost(),
                           " of money; the next request could exceed it"));
          co_return Attempt{};
        }
        co_await Pause(job, Pace::kNoPlace);  // what is in flight may cost less than it could
      } else {
        const Duration wait = pace_.TryBegin(clock_->Now(), question->worst.total());
        if (wait == Duration::zero()) break;
        budget_.Settle(question->worst, {});
        co_await Pause(job, wait);
      }
      if (job->ended.has_value()) co_return Attempt{};
    }
    const absl::Status noted =
        ledger_.Begin(question->key, question->worst, budget_.CostOf(question->worst));
    if (!noted.ok()) {
      job->ended = noted;
      co_return Attempt{};
    }
    const TimePoint began = clock_->Now();
    ++stats_.sent;
    ++question->attempts;
    Attempt attempt = co_await Send(job, *question);
    const TimePoint now = clock_->Now();
    pace_.End(began, now, attempt.verdict, attempt.retry_after);
    job->changed->cancel();
    const absl::Status kept = Keep(*question, attempt, Seconds(now - began));
    if (!kept.ok() && !job->ended.has_value()) job->ended = kept;
    co_return attempt;
  }

  awaitable<void> Pause(Job* job, Duration wait) {
    if (wait == Pace::kNoPlace) {  // until another request has ended
      [[maybe_unused]] auto [woken] = co_await job->changed->async_wait(kAwait);
      co_return;
    }
    asio::steady_timer timer(job->executor);
    timer.expires_after(std::min(wait, FromSeconds(options_.probe_seconds)));
    [[maybe_unused]] auto [waited] = co_await timer.async_wait(kAwait);
  }

  awaitable<Attempt> Send(Job* job, const Question& question) {
    const HttpPost post{.user_agent = "llava-train",
                        .path = question.path,
                        .body = question.body,
                        .authorization = authorization_,
                        .allow_public = options_.allow_plain,
                        .idle = FromSeconds(options_.idle_seconds),
                        .deadline = clock_->Now() + FromSeconds(options_.total_seconds)};
    const HttpResult result = co_await PostOnce(job->executor, &tls_, &target_, &post, clock_);
    if (result.failure.status.ok()) {
      const AskedFor asked{options_.model, options_.any_model, question.worst.prompt,
                           question.choices};
      Attempt answered = ReadAnswer(result.answer, asked, clock_->UnixMillis() / kMillisOfASecond);
      HideKey(&answered.reply);
      co_return answered;
    }
    Attempt attempt;
    attempt.verdict =
        absl::IsPermissionDenied(result.failure.status) ? Verdict::kHopeless : Verdict::kUnwell;
    attempt.message = std::string(result.failure.status.message());
    attempt.paid = result.failure.sent;
    co_return attempt;
  }

  // A service may send back what it was sent.
  void HideKey(ChatReply* reply) const {
    if (secret_.size() < kLeastSecret) return;
    for (std::string* said : {&reply->text, &reply->model, &reply->finish_reason}) {
      *said = absl::StrReplaceAll(*said, {{secret_, "[key]"}});
    }
  }

  // Settles the budget, and writes it down. What was no answer is taken for the most that it can
  // have cost.
  absl::Status Keep(const Question& question, const Attempt& attempt, double seconds) {
    const bool good = attempt.verdict == Verdict::kGood;
    LedgerEntry entry{
        question.key, question.attempts, attempt.http, "ok", attempt.reply, seconds, 0};
    if (!good) {
      entry.status = Said(attempt);
      entry.reply = ChatReply{};
      entry.reply.estimated = true;
      entry.reply.prompt_tokens = attempt.paid ? question.worst.prompt : 0;
      entry.reply.completion_tokens = attempt.paid ? question.worst.completion : 0;
    }
    const TokenCount spent{entry.reply.prompt_tokens, entry.reply.completion_tokens};
    entry.cost = budget_.CostOf(spent);
    budget_.Settle(question.worst, spent);
    return ledger_.Append(entry);
  }

  std::string Said(const Attempt& attempt) const {
    const std::string text = ForPeople(attempt.message, secret_);
    return attempt.http == 0 ? text : absl::StrCat("HTTP ", attempt.http, ": ", text);
  }

  // OK: ask again. Otherwise what the question's answer is, or the end of the run.
  absl::Status Judge(const Attempt& attempt, Question* question, Job* job) {
    last_problem_ = Said(attempt);
    if (attempt.verdict == Verdict::kHopeless) {
      job->ended = absl::PermissionDeniedError(absl::StrCat(target_.host, ": ", last_problem_));
      return *job->ended;
    }
    if (attempt.verdict == Verdict::kRefused) return absl::InvalidArgumentError(last_problem_);
    question->throttled = attempt.verdict == Verdict::kThrottled ? question->throttled + 1 : 0;
    // While the service is down, not to be reached says nothing about this question.
    const bool counts =
        attempt.verdict != Verdict::kThrottled && (attempt.http != 0 || !pace_.is_down());
    if (counts && ++question->failures >= options_.max_attempts) {
      return absl::UnavailableError(
          absl::StrCat(question->failures, " attempts failed; the last: ", last_problem_));
    }
    return absl::OkStatus();
  }

  // Full jitter: anything up to the doubled time.
  Duration Backoff(const Question& question) {
    const std::int64_t again = std::max<std::int64_t>(1, question.failures + question.throttled);
    const int doublings = static_cast<int>(std::min<std::int64_t>(again - 1, kMostDoublings));
    const double most = std::min(options_.longest_retry_seconds,
                                 std::ldexp(options_.first_retry_seconds, doublings));
    return FromSeconds(most * rng_.Uniform());
  }

  const EndpointOptions options_;
  const std::string secret_;
  const std::string authorization_;
  const HttpTarget target_;
  const Clock* const clock_;
  asio::ssl::context tls_;
  Ledger ledger_;
  const double cost_before_;
  Budget budget_;
  Pace pace_;
  EndpointStats stats_;
  std::unordered_set<Digest> asked_;  // and not answered yet: what is equal waits for that
  std::string last_problem_;
  Rng rng_{42};
};

Endpoint::Endpoint(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Endpoint::~Endpoint() = default;

absl::StatusOr<std::unique_ptr<Endpoint>> Endpoint::Make(EndpointOptions options, Ledger ledger,
                                                         const Clock* clock) {
  ASSIGN_OR_RETURN(std::string key, LoadApiKey(options));
  ASSIGN_OR_RETURN(HttpTarget target, ParseTarget(options.base_url));
  return std::unique_ptr<Endpoint>(new Endpoint(std::make_unique<Parts>(
      std::move(options), std::move(key), std::move(target), std::move(ledger), clock)));
}

absl::Status Endpoint::Run(std::int64_t count, const MakeRequest& make, const OnReply& on_reply,
                           const std::atomic<bool>* stop) {
  return parts_->Run(count, make, on_reply, stop);
}

EndpointStats Endpoint::stats() const { return parts_->stats(); }

}  // namespace llava::training
