#include "tests/bench/fleet/replica.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace llava::fleet {
namespace {

constexpr std::int32_t kAnyToken = 7;

Digest VersionOf(int number) { return Sha256Of(absl::StrCat("version ", number)); }

}  // namespace

Replica::Replica(const ReplicaOptions& options)
    : options_(options), scheduler_(options.scheduler), version_(VersionOf(0)) {
  events_.emplace_back(scheduling::AddVersion{version_});
}

void Replica::Submit(TimePoint now, TimePoint sent, std::unique_ptr<scheduling::Request> request) {
  const std::uint64_t id = request->id.value();
  request->version = version_;
  request->arrival = now;
  answers_[id] = {.id = id, .sent = sent, .first_token = {}, .end = {}, .gaps = {}, .usage = {}};
  events_.emplace_back(scheduling::Arrive{std::move(request)});
  if (!step_end_.has_value()) {
    std::vector<AnswerRecord> none;
    Tick(now, &none);
    LLAVA_CHECK(none.empty());
  }
}

void Replica::Advance(std::vector<AnswerRecord>* done) {
  const TimePoint now = *step_end_;
  step_end_.reset();
  const scheduling::StepPlan& plan = scheduler_.output().plan;
  tokens_.assign(plan.samples.size(), {.token = kAnyToken, .logprob = 0, .top = {}});
  stopped_.assign(plan.samples.size(), 0);
  // The scheduler learns from it as it would from a real device.
  events_.emplace_back(scheduling::StepDone{tokens_, stopped_, {}, step_time_});
  Tick(now, done);
}

void Replica::Tick(TimePoint now, std::vector<AnswerRecord>* done) {
  const scheduling::TickOutput& out = scheduler_.Tick(now, events_);
  events_.clear();
  for (const scheduling::TokenOut& token : out.tokens) {
    AnswerRecord& answer = answers_.at(token.id.value());
    const auto [last, is_first] = last_token_.try_emplace(answer.id, now);
    if (is_first) {
      answer.first_token = now;
    } else {
      answer.gaps.push_back(now - std::exchange(last->second, now));
    }
  }
  for (const scheduling::RequestEnd& end : out.ends) {
    AnswerRecord answer = std::move(answers_.extract(end.request->id.value()).mapped());
    last_token_.erase(answer.id);
    answer.end = now;
    answer.usage = end.usage;
    answer.ok = end.status.ok();
    done->push_back(std::move(answer));
  }
  if (out.plan.chunks.empty()) return;
  const Duration time = StepTime(options_.shape, out.plan, scheduler_.step());
  step_time_ =
      Duration(static_cast<std::int64_t>(static_cast<double>(time.count()) * options_.slowness));
  step_end_ = now + step_time_;
}

void Replica::Reload(TimePoint now) {
  const Digest old = std::exchange(version_, VersionOf(++versions_));
  events_.emplace_back(scheduling::AddVersion{version_});
  events_.emplace_back(scheduling::RemoveVersion{old});
  if (step_end_.has_value()) return;
  std::vector<AnswerRecord> none;
  Tick(now, &none);
}

std::vector<AnswerRecord> Replica::Outstanding() const {
  std::vector<AnswerRecord> all;
  for (const auto& [id, answer] : answers_) all.push_back(answer);
  return all;
}

}  // namespace llava::fleet
