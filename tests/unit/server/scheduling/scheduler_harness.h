// Drives a Scheduler by hand: events in, one tick, steps that always succeed unless told otherwise.
#ifndef LLAVA_TESTS_UNIT_SERVER_SCHEDULING_SCHEDULER_HARNESS_H_
#define LLAVA_TESTS_UNIT_SERVER_SCHEDULING_SCHEDULER_HARNESS_H_

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "server/scheduling/invariants.h"
#include "server/scheduling/scheduler.h"

namespace llava::scheduling {

inline SchedulerOptions SmallOptions() {
  SchedulerOptions options;
  options.num_blocks = 64;
  options.max_batch_tokens = 64;
  options.max_running = 8;
  options.max_context_tokens = 1024;
  options.feature_bytes_per_token = 1;
  options.feature_cache_bytes = 1000;
  return options;
}

class SchedulerHarness {
 public:
  explicit SchedulerHarness(const SchedulerOptions& options = SmallOptions())
      : scheduler(options, &marks) {
    events.emplace_back(AddVersion{version});
  }

  // Values of `base` make prompts differ.
  Request MakeRequest(int prompt_tokens, int max_tokens, int base = 0) {
    Request request;
    request.id = RequestId(++last_id);
    request.version = version;
    request.arrival = now;
    for (int i = 0; i < prompt_tokens; ++i) request.prompt_ids.push_back(base + i);
    request.sampling.max_tokens = max_tokens;
    return request;
  }

  static void AddImage(Request& request, const char* name, int offset, int count) {
    ImageInput image;
    image.digest = Sha256Of(name);
    image.offset = offset;
    image.count = count;
    request.images.push_back(std::move(image));
  }

  RequestId Arrives(Request request) {
    const RequestId id = request.id;
    events.emplace_back(Arrive{std::make_unique<Request>(std::move(request))});
    return id;
  }

  // One tick; the step of the tick before succeeded, with `token` for every sample.
  const TickOutput& Tick(std::int32_t token = 1000) {
    const TickOutput& last = scheduler.output();
    if (last.plan.has_work()) {
      tokens.assign(last.plan.samples.size(), SampledToken{token, 0, {}});
      stopped.assign(tokens.size(), 0);
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        const std::int32_t draft = last.plan.samples[i].draft;
        if (draft != kNotSampled && tokens[i - 1].token != draft) tokens[i].token = kNotSampled;
      }
      events.emplace_back(StepDone{tokens, stopped, encode_time, forward_time});
    }
    return RawTick();
  }

  const TickOutput& FailTick(absl::Status status) {
    events.emplace_back(StepFailed{std::move(status)});
    return RawTick();
  }

  // Ticks until nothing is left to run.
  void Finish(int most = 2000) {
    for (int i = 0; i < most; ++i) {
      if (!Tick().plan.has_work()) return;
    }
    FAIL() << "still running";
  }

  // Tokens of a request in the current step; 0: not part of it.
  int Scheduled(RequestId id) const {
    int tokens_of_request = 0;
    for (const PlannedChunk& chunk : scheduler.step()) {
      if (chunk.sequence->request->spec->id == id) tokens_of_request += chunk.tokens;
    }
    return tokens_of_request;
  }

  int used_blocks() const { return scheduler.planner().kv().pool().used(); }

  Digest version = Sha256Of("v1");
  Marks marks;
  Scheduler scheduler;
  std::vector<Event> events;
  TimePoint now{std::chrono::seconds(100)};
  Duration step = std::chrono::milliseconds(1);
  Duration encode_time{};
  Duration forward_time = std::chrono::milliseconds(1);
  std::map<RequestId, int> got;  // tokens
  std::map<RequestId, absl::Status> ended;
  std::map<RequestId, Usage> usage;
  std::uint64_t last_id = 0;

 private:
  const TickOutput& RawTick() {
    now += step;
    const TickOutput& out = scheduler.Tick(now, events);
    events.clear();
    for (const TokenOut& token : out.tokens) ++got[token.id];
    for (const RequestEnd& end : out.ends) {
      EXPECT_TRUE(ended.emplace(end.request->id, end.status).second) << "ended twice";
      usage[end.request->id] = end.usage;
    }
    const absl::Status status = CheckInvariants(scheduler);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return out;
  }

  std::vector<SampledToken> tokens;
  std::vector<std::uint8_t> stopped;
};

}  // namespace llava::scheduling

#endif  // LLAVA_TESTS_UNIT_SERVER_SCHEDULING_SCHEDULER_HARNESS_H_
