#include "tests/bench/fleet/fleet.h"

#include <algorithm>
#include <utility>

namespace llava::fleet {
namespace {

Duration Quantile(std::vector<Duration> values, double quantile) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto index = static_cast<std::size_t>(quantile * static_cast<double>(values.size() - 1));
  return values[index];
}

}  // namespace

double FleetResult::Share(Duration within) const {
  if (answers.empty()) return 0;
  std::size_t good = 0;
  for (const AnswerRecord& answer : answers) {
    if (answer.ok && *answer.first_token - answer.sent <= within) ++good;
  }
  return static_cast<double>(good) / static_cast<double>(answers.size());
}

double FleetResult::Goodput(Duration within, Duration window) const {
  return Share(within) * static_cast<double>(answers.size()) / Seconds(window);
}

Duration FleetResult::FirstToken(double quantile) const {
  std::vector<Duration> values;
  for (const AnswerRecord& answer : answers) {
    if (answer.first_token.has_value()) values.push_back(*answer.first_token - answer.sent);
  }
  return Quantile(std::move(values), quantile);
}

Duration FleetResult::Gap(double quantile) const {
  std::vector<Duration> values;
  for (const AnswerRecord& answer : answers) {
    values.insert(values.end(), answer.gaps.begin(), answer.gaps.end());
  }
  return Quantile(std::move(values), quantile);
}

double FleetResult::CachedShare() const {
  double cached = 0;
  double all = 0;
  for (const AnswerRecord& answer : answers) {
    cached += answer.usage.cached_tokens;
    all += answer.usage.prompt_tokens;
  }
  return all == 0 ? 0 : cached / all;
}

double FleetResult::EncodedPerQuestion() const {
  double encoded = 0;
  for (const AnswerRecord& answer : answers) encoded += answer.usage.images_encoded;
  return answers.empty() ? 0 : encoded / static_cast<double>(answers.size());
}

Fleet::Fleet(const FleetOptions& options)
    : options_(options),
      traffic_(options.traffic, options.replica.shape, options.seed),
      router_(options.policy, options.seed + 1) {
  for (int i = 0; i < options.replicas; ++i) Add(Duration(0));
}

void Fleet::At(TimePoint when, std::function<void()> what) {
  events_.push({when, ++last_order_, std::move(what)});
}

std::size_t Fleet::ready() const {
  return static_cast<std::size_t>(std::count(ready_.begin(), ready_.end(), true));
}

void Fleet::Add(Duration start, double slowness) {
  Pay();
  ReplicaOptions options = options_.replica;
  options.slowness *= slowness;
  const std::size_t index = replicas_.size();
  replicas_.push_back(std::make_unique<Replica>(options));
  ready_.push_back(start == Duration(0));
  paid_.push_back(true);
  scheduled_.push_back(false);
  sent_.push_back(0);
  if (start > Duration(0)) At(now_ + start, [this, index] { ready_[index] = true; });
}

// Seconds of replicas that are paid for since the last call, as far as they lie in the window.
void Fleet::Pay() {
  const TimePoint from = std::max(paid_until_, from_);
  const TimePoint to = std::min(now_, to_);
  paid_until_ = now_;
  if (to <= from) return;
  const auto paid = std::count(paid_.begin(), paid_.end(), true);
  result_.replica_seconds += Seconds(to - from) * static_cast<double>(paid);
}

FleetResult Fleet::Run(Duration warm_up, Duration window) {
  from_ = now_ + warm_up;
  to_ = from_ + window;
  paid_until_ = now_;
  ScheduleArrival();
  while (!events_.empty()) {
    if (events_.top().at > to_ && calls_.empty()) break;
    Event event = events_.top();
    events_.pop();
    now_ = event.at;
    event.run();
  }
  now_ = std::max(now_, to_);
  Pay();
  return std::move(result_);
}

void Fleet::ScheduleArrival() {
  const TimePoint next = traffic_.NextArrival(now_);
  if (next > to_) return;
  At(next, [this] {
    Ask(traffic_.Begin());
    ScheduleArrival();
  });
}

void Fleet::Ask(Conversation conversation) {
  const std::uint64_t id = ++last_id_;
  Call& call = calls_[id];
  call.conversation = std::move(conversation);
  call.answer_tokens = traffic_.Ask(&call.conversation);
  call.sent = now_;
  Send(id);
}

void Fleet::Send(std::uint64_t id) {
  Call& call = calls_.at(id);
  const std::vector<ReplicaView> views = Views();
  if (views.empty()) {  // nobody is there: the client tries again
    At(now_ + std::chrono::seconds(1), [this, id] { Send(id); });
    return;
  }
  call.replica = router_.Choose(views, call.conversation.id, call.conversation.picture);
  ++sent_[call.replica];
  At(now_ + kBeforeQueue, [this, id] {
    const auto found = calls_.find(id);
    const Call& sent = found->second;
    Replica* replica = replicas_[sent.replica].get();
    if (replica == nullptr) return Send(id);
    replica->Submit(now_, sent.sent, traffic_.ToRequest(sent.conversation, id, sent.answer_tokens));
    ScheduleStep(sent.replica);
  });
}

void Fleet::ScheduleStep(std::size_t index) {
  if (scheduled_[index] || !replicas_[index]->next().has_value()) return;
  scheduled_[index] = true;
  At(*replicas_[index]->next(), [this, index] { Step(index); });
}

void Fleet::Step(std::size_t index) {
  scheduled_[index] = false;
  if (replicas_[index] == nullptr) return;
  std::vector<AnswerRecord> done;
  replicas_[index]->Advance(&done);
  for (AnswerRecord& answer : done) Finish(std::move(answer));
  ScheduleStep(index);
  Release(index);
}

void Fleet::Finish(AnswerRecord answer) {
  Call call = std::move(calls_.extract(answer.id).mapped());
  --sent_[call.replica];
  Duration think{};
  const bool goes_on = traffic_.GoesOn(&call.conversation, answer.usage.generated_tokens, &think);
  if (goes_on && answer.ok && now_ + think <= to_) {
    At(now_ + think, [this, conversation = std::move(call.conversation)]() mutable {
      Ask(std::move(conversation));
    });
  }
  if (call.sent >= from_ && call.sent <= to_) {
    answer.sent = call.sent;
    result_.answers.push_back(std::move(answer));
  }
}

void Fleet::Scrape() {
  if (!scraped_.empty() && scraped_.size() == replicas_.size() &&
      now_ - last_scrape_ < options_.scrape) {
    return;
  }
  last_scrape_ = now_;
  scraped_.assign(replicas_.size(), {});
  for (std::size_t i = 0; i < replicas_.size(); ++i) {
    if (replicas_[i] == nullptr) continue;
    const scheduling::SchedulerStats stats = replicas_[i]->stats();
    scraped_[i].waiting = stats.waiting;
    scraped_[i].kv_usage =
        static_cast<double>(stats.blocks_used) / static_cast<double>(stats.blocks_total);
  }
}

std::vector<ReplicaView> Fleet::Views() {
  if (options_.policy == Policy::kQueueAndCache) Scrape();
  std::vector<ReplicaView> views;
  for (std::size_t i = 0; i < replicas_.size(); ++i) {
    if (!ready_[i]) continue;
    ReplicaView view = i < scraped_.size() ? scraped_[i] : ReplicaView{};
    view.index = i;
    view.outstanding = sent_[i];
    views.push_back(view);
  }
  return views;
}

void Fleet::Reload(std::size_t index) {
  if (replicas_[index] == nullptr) return;
  replicas_[index]->Reload(now_);
  ScheduleStep(index);
}

void Fleet::Drain(std::size_t index) {
  ready_[index] = false;
  Release(index);
}

// A drained replica that has nothing left is paid for no more.
void Fleet::Release(std::size_t index) {
  if (ready_[index] || !paid_[index] || sent_[index] > 0) return;
  Pay();
  paid_[index] = false;
}

void Fleet::Lose(std::size_t index) {
  Pay();
  ready_[index] = false;
  paid_[index] = false;
  const std::vector<AnswerRecord> lost = replicas_[index]->Outstanding();
  replicas_[index].reset();
  for (const AnswerRecord& answer : lost) {
    ++result_.retries;
    Send(answer.id);
  }
}

}  // namespace llava::fleet
