#include "tests/simulation/world.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "server/scheduling/invariants.h"
#include "server/scheduling/request_check.h"

namespace llava::simulation {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr int kPictures = 5;
constexpr testing::FakeCosts kCosts{.step = microseconds(500),
                                    .token = microseconds(10),
                                    .image = milliseconds(2),
                                    .key = std::chrono::nanoseconds(100)};

Digest NumberedDigest(const char* kind, int number) { return Sha256Of(absl::StrCat(kind, number)); }

scheduling::AdmissionOptions Bounds(int max_live) {
  scheduling::AdmissionOptions options;
  options.total.requests = max_live;
  options.per_tenant.requests = std::max(1, max_live - 1);
  return options;
}

}  // namespace

World::World(std::uint64_t seed, scheduling::Marks* marks)
    : rng_(seed),
      plan_(WorldPlan::Draw(rng_)),
      gate_(Bounds(plan_.max_live), &clock_),
      watch_(kCosts) {
  auto executor =
      std::make_unique<testing::FakeExecutor>(plan_.engine.scheduler.num_blocks, &clock_, kCosts);
  executor_ = executor.get();
  executor_->behind = seed % 2 == 1;
  engine::EngineOptions options = plan_.engine;
  options.marks = marks;
  engine_ = std::make_unique<engine::Engine>(options, std::move(executor), &clock_, nullptr);
  clock_.Advance(std::chrono::seconds(1));
  ArmFaults();
  for (int i = 0; i < 4; ++i) {
    std::vector<std::int32_t> prompt(rng_.Below(60));
    for (auto& id : prompt) id = static_cast<std::int32_t>(rng_.Below(testing::kFakeVocabulary));
    shared_prompts_.push_back(std::move(prompt));
  }
  ChangeVersions();
}

World::~World() { engine_->Stop(); }

void World::ArmFaults() {
  executor_->before_forward = [this](const scheduling::StepPlan& plan) {
    Stutter();
    if (faults_ && plan_.errors && rng_.Chance(0.01)) {
      step_failed_ = true;
      return absl::InternalError("simulated device error");
    }
    if (faults_ && tick_ < short_until_ && plan.total_tokens > plan_.memory_limit) {
      return absl::ResourceExhaustedError("simulated device memory");
    }
    return absl::OkStatus();
  };
  executor_->before_encode = [this](const scheduling::StepPlan&) {
    Stutter();
    if (faults_ && plan_.errors && rng_.Chance(0.02)) {
      step_failed_ = true;
      return absl::InternalError("simulated encoder error");
    }
    if (faults_ && plan_.out_of_memory && rng_.Chance(0.02)) {
      return absl::ResourceExhaustedError("simulated encoder memory");
    }
    return absl::OkStatus();
  };
}

// The clock goes ahead in the middle of a step: once for minutes, or for a while by seconds in
// each.
void World::Stutter() {
  if (!faults_ || !plan_.stutters) return;
  if (rng_.Chance(0.002)) clock_.Advance(std::chrono::seconds(rng_.Between(1, 300)));
  if (rng_.Chance(0.002)) slow_until_ = tick_ + static_cast<int>(rng_.Between(1, 60));
  if (tick_ < slow_until_) clock_.Advance(milliseconds(rng_.Between(500, 3000)));
}

// Whatever the scheduler has waits for its reader.
bool World::IsIdle() const {
  const auto& requests = engine_->scheduler().requests();
  return std::all_of(requests.begin(), requests.end(),
                     [](const auto& entry) { return entry.second->paused; });
}

// The first version, and now and then another one; at most three.
void World::ChangeVersions() {
  if (versions_.empty() || (plan_.versions && versions_.size() < 3 && rng_.Chance(0.01))) {
    const Digest version = NumberedDigest("version", next_version_++);
    engine_->AddVersion(std::make_shared<testing::FakeModel>(version),
                        [this, version](auto status) {
                          // The table may be full of draining ones.
                          if (status.ok()) versions_.push_back(version);
                        });
  } else if (plan_.versions && versions_.size() > 1 && rng_.Chance(0.01)) {
    const std::size_t index = rng_.Below(versions_.size());
    const Digest version = versions_[index];
    versions_.erase(versions_.begin() + static_cast<std::ptrdiff_t>(index));
    ++removed_;
    engine_->RemoveVersion(version, [this](const absl::Status& status) {
      LLAVA_CHECK(status.ok());
      ++freed_;
    });
  }
}

absl::Status World::RunFaultyPhase(int ticks) {
  for (int i = 0; i < ticks; ++i) {
    ChangeVersions();
    if (plan_.out_of_memory && tick_ >= short_until_ && rng_.Chance(0.002)) {
      short_until_ = tick_ + static_cast<int>(rng_.Between(1, 30));
    }
    RETURN_IF_ERROR(Arrivals());
    if (plan_.cancels) RETURN_IF_ERROR(Cancels());
    RETURN_IF_ERROR(Tick());
    RETURN_IF_ERROR(ReadAll());
  }
  return absl::OkStatus();
}

absl::Status World::Tick() {
  ++tick_;
  clock_.Advance(microseconds(100));
  step_failed_ = false;
  engine_->RunOnce();
  if (step_failed_) {
    for (Client& client : clients_) client.faults_seen = true;
  }
  if (tick_ < short_until_) {
    for (Client& client : clients_) client.last_progress = tick_;
  }
  if (gate_.held().requests > plan_.max_live) return absl::InternalError("admission bound");
  if (executor_->unfinished() > scheduling::kMaxUnfinishedImages) {
    return absl::InternalError("too many images are half encoded");
  }
  RETURN_IF_ERROR(watch_.Check(engine_->scheduler(), /*whole=*/!plan_.out_of_memory));
  return scheduling::CheckInvariants(engine_->scheduler());
}

absl::Status World::Arrivals() {
  if (versions_.empty() || !rng_.Chance(plan_.arrivals)) return absl::OkStatus();
  ClientSpec spec = DrawRequest();
  const auto check = scheduling::CheckRequest(spec.request, plan_.engine.scheduler);
  auto ticket =
      gate_.Enter(spec.request.tenant, {.requests = 1, .tokens = 0, .bytes = 0, .pixels = 0});
  if (!ticket.ok()) {
    if (!absl::IsResourceExhausted(ticket.status()) || !scheduling::RetryAfter(ticket.status())) {
      return ticket.status();
    }
    return absl::OkStatus();
  }
  auto client = Client::Send(*engine_, *std::move(ticket), spec,
                             scheduling::ContextTokens(plan_.engine.scheduler));
  if (client.ok()) {
    client->submitted = client->last_progress = tick_;
    client->found_idle = IsIdle();
    std::vector<std::vector<std::int32_t>> answers;
    for (const Expected& expected : client->expected()) answers.push_back(expected.tokens);
    ledger_.Add(client->request(), answers);
    clients_.push_back(*std::move(client));
    return absl::OkStatus();
  }
  const bool expected = absl::IsInvalidArgument(client.status())
                            ? !check.ok()
                            : absl::IsResourceExhausted(client.status());
  return expected ? absl::OkStatus() : client.status();
}

// A cancelled request is gone after the next tick, and all its blocks with it.
absl::Status World::Cancels() {
  if (clients_.empty() || !rng_.Chance(0.05)) return absl::OkStatus();
  Client& client = clients_[rng_.Below(clients_.size())];
  return client.Cancel();
}

absl::Status World::ReadAll() {
  for (std::size_t i = 0; i < clients_.size();) {
    Client& client = clients_[i];
    if (client.cancelled() && engine_->scheduler().requests().contains(client.id())) {
      return absl::InternalError(
          absl::StrCat("request ", client.id().value(), " is alive one tick after its cancel"));
    }
    if (faults_ && plan_.stalls && tick_ >= client.stalled_until && rng_.Chance(0.02)) {
      client.stalled_until = tick_ + static_cast<int>(rng_.Between(1, 100));
    }
    const bool stalled = faults_ && tick_ < client.stalled_until && !client.cancelled();
    const std::int64_t before = client.tokens_read();
    if (!stalled) RETURN_IF_ERROR(client.Read(1 << 20));
    if (stalled) client.last_progress = tick_;
    if (client.cancelled() && !client.ended()) {
      return absl::InternalError("a cancelled request did not end in the next tick");
    }
    if (!client.ended()) {
      RETURN_IF_ERROR(CheckWait(client, before));
      ++i;
      continue;
    }
    RETURN_IF_ERROR(CheckEnd(client));
    ++finished_;
    if (i + 1 < clients_.size()) client = std::move(clients_.back());
    clients_.pop_back();
  }
  return absl::OkStatus();
}

absl::Status World::CheckEnd(const Client& client) const {
  RETURN_IF_ERROR(CheckCause(client));
  return ledger_.Check(client.request(), client.end().usage, client.end().status.ok());
}

// No status without its cause.
absl::Status World::CheckCause(const Client& client) const {
  const absl::Status& status = client.end().status;
  const bool had_deadline = client.request().deadline.has_value();
  bool allowed = false;
  switch (status.code()) {
    case absl::StatusCode::kOk:
      allowed = !client.cancelled();
      break;
    case absl::StatusCode::kCancelled:
      allowed = client.cancelled();
      break;
    case absl::StatusCode::kDeadlineExceeded:
      allowed = had_deadline;
      break;
    case absl::StatusCode::kInternal:
      allowed = client.faults_seen;
      break;
    case absl::StatusCode::kResourceExhausted:
      // For its deadline alone, and by an engine that had something else to do (invariant 15).
      allowed =
          scheduling::RetryAfter(status) ? had_deadline && !client.found_idle : plan_.out_of_memory;
      break;
    case absl::StatusCode::kNotFound:
      allowed = client.request().version == NumberedDigest("version", -1);
      break;
    default:
      break;
  }
  if (allowed) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("request ", client.id().value(),
                                          " ended without a cause with ", status.ToString()));
}

absl::Status World::CheckWait(Client& client, std::int64_t tokens_before) {
  if (client.tokens_read() > tokens_before) client.last_progress = tick_;
  const int wait = tick_ - client.last_progress;
  longest_wait_ = std::max(longest_wait_, wait);
  if (wait <= WaitBound()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("request ", client.id().value(), " starves: ", wait,
                                          " ticks without a token, the bound is ", WaitBound()));
}

// The stated bound of README.md (11): the work of all live requests, one after the other, in the
// smallest steps, for each of the versions.
int World::WaitBound() const {
  const scheduling::SchedulerOptions& options = plan_.engine.scheduler;
  const int prefill = 2 + plan_.max_prompt / std::max(1, options.max_batch_tokens / 4);
  const int one = 4 * (prefill + plan_.max_tokens + 8);
  return 400 + 3 * plan_.max_live * one;
}

absl::Status World::RunDrain() {
  faults_ = false;
  for (Client& client : clients_) client.last_progress = tick_;
  const int last = tick_ + 2 * WaitBound();
  while (!clients_.empty()) {
    if (tick_ > last) {
      return absl::InternalError(absl::StrCat(clients_.size(), " requests are left after ",
                                              2 * WaitBound(), " ticks without faults"));
    }
    RETURN_IF_ERROR(Tick());
    RETURN_IF_ERROR(ReadAll());
  }
  RETURN_IF_ERROR(Tick());
  return CheckLeftovers();
}

absl::Status World::CheckLeftovers() {
  const scheduling::Scheduler& scheduler = engine_->scheduler();
  const auto& pool = scheduler.planner().kv().pool();
  const scheduling::SchedulerStats stats = engine_->stats().scheduler;
  if (pool.used() != 0 || stats.requests != 0 || stats.running != 0 || stats.waiting != 0 ||
      stats.paused != 0 || engine_->load() != 0 || gate_.held().requests != 0 ||
      removed_ != freed_) {
    return absl::InternalError(absl::StrCat("left behind: ", pool.used(), " blocks, ",
                                            stats.requests, " requests, ", stats.paused,
                                            " paused, ", gate_.held().requests, " tickets"));
  }
  if (executor_->features() != scheduler.planner().features().size()) {
    return absl::InternalError("the executor and the scheduler disagree about encoded images");
  }
  for (const Digest& version : versions_) {
    ++removed_;
    engine_->RemoveVersion(version, [this](const absl::Status&) { ++freed_; });
  }
  RETURN_IF_ERROR(Tick());
  if (removed_ != freed_ || executor_->versions() != 0 || executor_->features() != 0) {
    return absl::InternalError("a removed version left something in the executor");
  }
  return absl::OkStatus();
}

ClientSpec World::DrawRequest() {
  ClientSpec spec;
  scheduling::Request& request = spec.request;
  request.arrival = clock_.Now();
  request.version =
      rng_.Chance(0.01) ? NumberedDigest("version", -1) : versions_[rng_.Below(versions_.size())];
  request.tenant = plan_.tenants ? absl::StrCat("tenant", rng_.Below(4)) : "";
  if (plan_.domains) {
    request.cache_domain = NumberedDigest("domain", static_cast<int>(rng_.Below(3)));
  }
  if (plan_.priorities) request.priority = static_cast<scheduling::Priority>(rng_.Below(3));
  if (plan_.shared_prompts && rng_.Chance(0.7)) {
    request.prompt_ids = shared_prompts_[rng_.Below(shared_prompts_.size())];
  }
  const auto extra = rng_.Between(0, plan_.max_prompt);
  for (std::int64_t i = 0; i < extra || request.prompt_ids.empty(); ++i) {
    request.prompt_ids.push_back(static_cast<std::int32_t>(rng_.Below(testing::kFakeVocabulary)));
  }
  const auto most = static_cast<std::size_t>(scheduling::ContextTokens(plan_.engine.scheduler) -
                                             (rng_.Chance(0.02) ? 0 : 1));
  if (request.prompt_ids.size() > most) request.prompt_ids.resize(most);
  if (plan_.images) AddImages(request);
  if (plan_.choices && rng_.Chance(0.3)) request.n = static_cast<int>(rng_.Between(2, 4));
  DrawSampling(request);
  if (plan_.deadlines && rng_.Chance(0.4)) {
    request.deadline = request.arrival + milliseconds(rng_.Between(0, 200));
  }
  if (rng_.Chance(0.3)) {
    spec.stop_token = static_cast<std::int32_t>(rng_.Below(testing::kFakeVocabulary));
  }
  return spec;
}

void World::DrawSampling(scheduling::Request& request) {
  SamplingParams& sampling = request.sampling;
  sampling.max_tokens = static_cast<int>(rng_.Between(1, plan_.max_tokens));
  request.end_token_ids = {0, 1};
  sampling.ignore_eos = rng_.Chance(0.2);
  if (!plan_.sampling) return;
  sampling.temperature = rng_.Chance(0.5) ? 1.0 : 0.0;
  if (rng_.Chance(0.5)) sampling.seed = rng_.Next();
  if (rng_.Chance(0.3)) sampling.top_logprobs = static_cast<int>(rng_.Between(0, 3));
  if (rng_.Chance(0.3)) sampling.stop_token_ids = {5};
  if (rng_.Chance(0.3)) sampling.min_tokens = static_cast<int>(rng_.Below(sampling.max_tokens + 1));
}

// Up to three images, side by side or apart, anywhere in the prompt.
void World::AddImages(scheduling::Request& request) {
  int position = static_cast<int>(rng_.Below(8));
  const auto images = rng_.Below(4);
  for (std::uint64_t i = 0; i < images; ++i) {
    const int picture = static_cast<int>(rng_.Below(kPictures));
    const int count = 3 + 5 * picture;
    if (position + count > static_cast<int>(request.prompt_ids.size())) return;
    scheduling::ImageInput image;
    image.digest = NumberedDigest("picture", picture);
    image.offset = position;
    image.count = count;
    // A picture's tiles are a matter of the picture, as they are in a model.
    image.tiles = plan_.tiles ? 1 + 9 * picture : 1;
    for (int p = position; p < position + count; ++p) {
      request.prompt_ids[static_cast<std::size_t>(p)] = 9999;
    }
    request.images.push_back(std::move(image));
    position += count + static_cast<int>(rng_.Below(6));
  }
}

}  // namespace llava::simulation
