// What a tick of the scheduler costs while 1, 64 and 512 sequences run: the step before is
// committed, ended requests are replaced by new ones, and the next step is planned. The goal is
// less than 50 us at 512 (server/scheduling/README.md). And what the look-up of a draft costs a
// step of a sequence of 1024, 8192 and 65536 tokens, and its first step.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/rng.h"
#include "server/scheduling/drafts.h"
#include "server/scheduling/scheduler.h"

namespace llava::scheduling {
namespace {

constexpr int kPromptTokens = 64;

SchedulerOptions Options(int running) {
  SchedulerOptions options;
  options.max_running = running;
  options.max_batch_tokens = running + 512;
  options.max_context_tokens = 2048;
  options.num_blocks = running * 64 + 1024;
  return options;
}

std::unique_ptr<Request> MakeRequest(std::uint64_t id, const Digest& version, Rng& rng) {
  auto request = std::make_unique<Request>();
  request->id = RequestId(id);
  request->version = version;
  for (int i = 0; i < kPromptTokens; ++i) {
    request->prompt_ids.push_back(static_cast<std::int32_t>(rng.Below(32000)));
  }
  request->sampling.max_tokens = static_cast<int>(rng.Between(128, 512));
  request->end_token_ids = {2};
  return request;
}

void BM_Tick(benchmark::State& state) {
  const int running = static_cast<int>(state.range(0));
  Rng rng(1);
  const Digest version = Sha256Of("version");
  Scheduler scheduler(Options(running));
  std::vector<Event> events;
  events.emplace_back(AddVersion{version});
  std::uint64_t last_id = 0;
  for (int i = 0; i < running; ++i) {
    events.emplace_back(Arrive{MakeRequest(++last_id, version, rng)});
  }
  std::vector<SampledToken> tokens;
  std::vector<std::uint8_t> stopped;
  TimePoint now{};
  std::int64_t planned = 0;
  const auto tick = [&] {
    now += std::chrono::milliseconds(1);
    const TickOutput& out = scheduler.Tick(now, events);
    events.clear();
    planned += out.plan.total_tokens;
    return &out;
  };
  const auto feed = [&](const TickOutput& out) {
    tokens.resize(out.plan.samples.size());
    for (SampledToken& token : tokens) token.token = 1000;
    stopped.assign(tokens.size(), 0);
    for (std::size_t i = 0; i < out.ends.size(); ++i) {
      events.emplace_back(Arrive{MakeRequest(++last_id, version, rng)});
    }
    if (out.plan.has_work()) {
      events.emplace_back(StepDone{tokens, stopped, {}, std::chrono::milliseconds(1)});
    }
  };
  for (int i = 0; i < 1000; ++i) feed(*tick());
  planned = 0;
  for (auto _ : state) {
    const TickOutput* out = tick();
    state.PauseTiming();
    feed(*out);
    state.ResumeTiming();
  }
  state.counters["tokens/tick"] =
      static_cast<double>(planned) / static_cast<double>(state.iterations());
}
BENCHMARK(BM_Tick)->Arg(1)->Arg(64)->Arg(512)->Unit(benchmark::kMicrosecond);

// Like a text's: some tokens are much more frequent than others.
std::int32_t TextToken(Rng& rng) {
  return static_cast<std::int32_t>(rng.Below(rng.Below(32000) + 1));
}

std::vector<std::int32_t> Text(std::int64_t size) {
  Rng rng(1);
  std::vector<std::int32_t> tokens;
  tokens.reserve(2 * static_cast<std::size_t>(size));
  while (std::ssize(tokens) < size) tokens.push_back(TextToken(rng));
  return tokens;
}

void BM_Draft(benchmark::State& state) {
  Rng rng(2);
  std::vector<std::int32_t> tokens = Text(state.range(0));
  DraftIndex index;
  index.LookUp(tokens, 8);
  for (auto _ : state) {
    tokens.push_back(TextToken(rng));
    benchmark::DoNotOptimize(index.LookUp(tokens, 8));
  }
}
BENCHMARK(BM_Draft)->Arg(1 << 10)->Arg(8 << 10)->Arg(64 << 10)->Iterations(1000);

void BM_FirstDraft(benchmark::State& state) {
  const std::vector<std::int32_t> tokens = Text(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(DraftIndex().LookUp(tokens, 8));
}
BENCHMARK(BM_FirstDraft)->Arg(1 << 10)->Arg(8 << 10)->Arg(64 << 10)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace llava::scheduling

BENCHMARK_MAIN();
