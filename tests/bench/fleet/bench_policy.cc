// Our scheduler on a virtual H200: what its settings do to throughput, first tokens and gaps,
// before anybody has such a machine. N clients ask one after the other (closed loop), each with a
// picture of its own, 111 tokens of text and 64 of answer.
//
//   bench_policy [QUESTIONS_PER_CLIENT]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <queue>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/bench/fleet/replica.h"

namespace llava::fleet {
namespace {

constexpr std::int64_t kGiB = 1 << 30;

struct Row {
  std::string name;
  ModelShape shape;
  int clients = 1;
  std::int64_t kv_bytes = 100 * kGiB;
  int max_batch_tokens = 2048;
  int max_images_per_step = 1;
};

struct Seen {
  double tokens_per_second = 0;
  std::vector<Duration> first_tokens, gaps;
};

std::unique_ptr<scheduling::Request> Question(const ModelShape& shape, std::uint64_t id) {
  constexpr int kText = 111;
  auto request = std::make_unique<scheduling::Request>();
  request->id = scheduling::RequestId(id);
  request->prompt_ids.assign(static_cast<std::size_t>(kText + shape.picture_tokens),
                             static_cast<std::int32_t>(id));
  scheduling::ImageInput image;
  image.digest = Sha256Of(absl::StrCat("picture ", id));
  image.count = shape.picture_tokens;
  request->images.push_back(std::move(image));
  request->sampling.max_tokens = 64;
  request->sampling.ignore_eos = true;
  return request;
}

ReplicaOptions Options(const Row& row) {
  ReplicaOptions options;
  options.shape = row.shape;
  scheduling::SchedulerOptions& scheduler = options.scheduler;
  scheduler.num_blocks =
      static_cast<int>(row.kv_bytes / (row.shape.BytesPerToken() * kKvBlockTokens));
  scheduler.max_batch_tokens = row.max_batch_tokens;
  scheduler.max_images_per_step = row.max_images_per_step;
  scheduler.max_running = 256;
  scheduler.feature_bytes_per_token = 2 * row.shape.hidden;
  return options;
}

Seen Run(const Row& row, int questions) {
  Replica replica(Options(row));
  std::uint64_t last_id = 0;
  TimePoint now{};
  Seen seen;
  std::int64_t tokens = 0;
  // Who asks next, and when the question comes to the queue.
  std::priority_queue<TimePoint, std::vector<TimePoint>, std::greater<>> arrivals;
  for (int i = 0; i < row.clients; ++i) arrivals.push(TimePoint{} + kBeforeQueue);
  std::vector<AnswerRecord> done;
  while (!arrivals.empty() || replica.next().has_value()) {
    const bool arrives =
        !arrivals.empty() && (!replica.next().has_value() || arrivals.top() <= *replica.next());
    if (arrives) {
      now = arrivals.top();
      arrivals.pop();
      replica.Submit(now, now - kBeforeQueue, Question(row.shape, ++last_id));
      continue;
    }
    now = *replica.next();
    done.clear();
    replica.Advance(&done);
    for (AnswerRecord& answer : done) {
      LLAVA_CHECK(answer.ok);
      tokens += answer.usage.generated_tokens;
      seen.first_tokens.push_back(*answer.first_token - answer.sent);
      seen.gaps.insert(seen.gaps.end(), answer.gaps.begin(), answer.gaps.end());
      const auto all =
          static_cast<std::uint64_t>(questions) * static_cast<std::uint64_t>(row.clients);
      if (last_id + arrivals.size() < all) arrivals.push(now + kBeforeQueue);
    }
  }
  seen.tokens_per_second = static_cast<double>(tokens) / Seconds(now.time_since_epoch());
  return seen;
}

double Ms(std::vector<Duration>& values, double quantile) {
  std::sort(values.begin(), values.end());
  return 1e3 *
         Seconds(
             values[static_cast<std::size_t>(quantile * static_cast<double>(values.size() - 1))]);
}

double MeanMs(const std::vector<Duration>& values) {
  Duration sum{};
  for (const Duration value : values) sum += value;
  return 1e3 * Seconds(sum) / static_cast<double>(values.size());
}

std::vector<Row> Rows() {
  const ModelShape seven = ModelShape::SevenB();
  std::vector<Row> rows;
  for (const int clients : {1, 8, 64}) {
    rows.push_back({"7B, 16 GiB of KV", seven, clients, 16 * kGiB, 8192, 8});
  }
  rows.push_back({"7B, 1 GiB of KV", seven, 64, kGiB, 512, 1});
  for (const int clients : {1, 8, 64, 256}) {
    rows.push_back({"7B, auto", seven, clients});
  }
  for (const int pictures : {2, 8}) {
    rows.push_back({absl::StrCat("7B, ", pictures, " pictures a step"), seven, 64, 100 * kGiB, 8192,
                    pictures});
  }
  for (const int tokens : {256, 512, 1024, 8192}) {
    rows.push_back({absl::StrCat("7B, ", tokens, " tokens a step"), seven, 64, 100 * kGiB, tokens});
  }
  rows.push_back({"13B, auto", ModelShape::ThirteenB(), 64, 80 * kGiB});
  return rows;
}

int Main(int questions) {
  std::printf("%-24s %8s %10s %10s %10s %9s %9s %9s\n", "modelled, not measured", "clients",
              "tokens/s", "TTFT p50", "TTFT p99", "gap p50", "mean", "p99");
  for (const Row& row : Rows()) {
    Seen seen = Run(row, questions);
    std::printf("%-24s %8d %10.0f %7.0f ms %7.0f ms %6.1f ms %6.1f ms %6.1f ms\n", row.name.c_str(),
                row.clients, seen.tokens_per_second, Ms(seen.first_tokens, 0.5),
                Ms(seen.first_tokens, 0.99), Ms(seen.gaps, 0.5), MeanMs(seen.gaps),
                Ms(seen.gaps, 0.99));
  }
  return 0;
}

}  // namespace
}  // namespace llava::fleet

int main(int argc, char** argv) {
  const int questions = argc > 1 ? std::atoi(argv[1]) : 8;
  if (questions < 1) {
    std::fprintf(stderr, "bench_policy: questions of a client: '%s', expected at least 1\n",
                 argv[1]);
    return 2;
  }
  return llava::fleet::Main(questions);
}
