// What max_step_time does to readers: the engine over a device in virtual time, whose steps cost
// what those of a 1.4 billion parameter LLaVA cost on two cores (docs/benchmarks.md). Clients send
// a picture and a question at once, or one a while after the other, and each reads 32 tokens. Exact
// and repeatable: nothing is measured. Where a device's costs differ, so do the figures.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "server/engine/engine.h"
#include "tests/support/fake_executor.h"

namespace llava::engine {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr testing::FakeCosts kCosts{.step = milliseconds(80),
                                    .token = milliseconds(12),
                                    .image = milliseconds(2300),
                                    .key = microseconds(2)};
constexpr int kPictureTokens = 576;
constexpr int kTextTokens = 64;
constexpr int kNewTokens = 32;
constexpr int kParts = 25;

class Times final : public Observer {
 public:
  void OnFirstToken(Duration since_arrival) override { first.push_back(Seconds(since_arrival)); }
  void OnNextToken(Duration since_last) override { gaps.push_back(Seconds(since_last)); }

  std::vector<double> first;
  std::vector<double> gaps;
};

double Quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  if (values.empty()) return 0;
  const auto last = static_cast<double>(values.size() - 1);
  return values[static_cast<std::size_t>(share * last)];
}

scheduling::Request Ask(int number, const Digest& version, TimePoint arrival, int tiles) {
  scheduling::Request request;
  request.version = version;
  request.arrival = arrival;
  request.prompt_ids.assign(kPictureTokens + kTextTokens, 1000 + number);
  scheduling::ImageInput image;
  image.digest = Sha256Of(std::to_string(number));
  image.offset = 8;
  image.count = kPictureTokens;
  image.tiles = tiles;
  request.images.push_back(std::move(image));
  request.sampling.max_tokens = kNewTokens;
  request.sampling.ignore_eos = true;
  return request;
}

struct Load {
  const char* name;
  int clients;
  Duration between;  // two arrivals
  int tiles = 1;     // of a picture
};

void Run(const Load& load, Duration step_time) {
  ManualClock clock;
  Times times;
  EngineOptions options;
  options.scheduler.num_blocks = 4096;
  options.scheduler.prefix_cache = false;
  options.scheduler.feature_bytes_per_token = 1;
  options.scheduler.encoder_parts = kParts;
  options.scheduler.max_step_time = step_time;
  Engine engine(
      options,
      std::make_unique<testing::FakeExecutor>(options.scheduler.num_blocks, &clock, kCosts), &clock,
      &times);
  const Digest version = Sha256Of("version");
  engine.AddVersion(std::make_shared<testing::FakeModel>(version), [](const absl::Status&) {});
  AdmissionGate gate({}, &clock);
  clock.Advance(std::chrono::seconds(1));
  const TimePoint start = clock.Now();
  std::vector<TokenStream> streams;
  int sent = 0;
  do {
    for (; sent < load.clients && clock.Now() >= start + load.between * sent; ++sent) {
      Submission submission{Ask(sent, version, start + load.between * sent, load.tiles),
                            *gate.Enter("", {.requests = 1, .tokens = 0, .bytes = 0, .pixels = 0}),
                            [] { return std::make_unique<testing::FakeTextDecoder>(-1); }};
      streams.push_back(*engine.Submit(std::move(submission)));
    }
    if (!engine.RunOnce() && sent < load.clients) clock.Advance(milliseconds(1));
  } while (sent < load.clients || engine.load() > 0);
  const double wall = Seconds(clock.Now() - start);
  std::printf("%-34s %6.0f %10.2f %10.2f %10.2f %10.2f %10.2f\n", load.name,
              1000 * Seconds(step_time), Quantile(times.gaps, 1), Quantile(times.gaps, 0.5),
              Quantile(times.first, 0.5), Quantile(times.first, 1),
              load.clients * kNewTokens / wall);
}

int Main() {
  std::printf("%-34s %6s %10s %10s %10s %10s %10s\n", "load", "step", "gap max s", "gap p50 s",
              "TTFT p50 s", "TTFT max s", "tokens/s");
  for (const Load& load : {Load{"1 client", 1, {}}, Load{"8 clients at once", 8, {}},
                           Load{"8 clients, one every 12 s", 8, std::chrono::seconds(12)},
                           Load{"4 clients at once, 5 tiles each", 4, {}, 5}}) {
    for (const int ms : {0, 1000, 500, 250, 125}) Run(load, milliseconds(ms));
  }
  return 0;
}

}  // namespace
}  // namespace llava::engine

int main() { return llava::engine::Main(); }
