#include "server/torch/step_graphs.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "base/attention_limits.h"
#include "model/attention/to_device.h"

namespace llava::engine {
namespace {

// Block tables are at least so wide: contexts of 256 tokens.
constexpr int kLeastWidth = 16;
// A graph that has not run for so many steps makes room for another.
constexpr std::uint64_t kLongAgo = 4096;

constexpr std::int32_t kPadding = 0;  // a token that every vocabulary has

// 1, 2, 4, 8, 16, 24, 32, ...: at most one row of two is padding, and of many rows few are.
int RowsOf(int tokens) {
  const auto few = static_cast<int>(std::bit_ceil(static_cast<unsigned>(tokens)));
  return tokens <= 16 ? few : (tokens + 7) / 8 * 8;
}

}  // namespace

StepGraphs::StepGraphs(Options options, model::KvCache& cache, std::int32_t spare,
                       std::function<void(const std::string&)> warn)
    : backend_(std::move(options.backend)),
      max_bytes_(options.max_bytes),
      cache_(cache),
      spare_(spare),
      warn_(std::move(warn)) {}

bool StepGraphs::IsOnlyDecodes(const scheduling::StepPlan& plan) {
  return plan.total_tokens <= kMostRows && plan.image_rows.empty() &&
         std::ranges::all_of(plan.chunks, [](const scheduling::Chunk& chunk) {
           return chunk.token_ids.size() == 1 && chunk.adapter == nullptr;
         });
}

StepGraphs::Size StepGraphs::SizeOf(const scheduling::StepPlan& plan) {
  int width = kLeastWidth;
  for (const scheduling::Chunk& chunk : plan.chunks) {
    width = std::max(width, chunk.start / kKvBlockTokens + 1);
  }
  return {.version = plan.version,
          .rows = RowsOf(plan.total_tokens),
          .width = static_cast<int>(std::bit_ceil(static_cast<unsigned>(width)))};
}

std::optional<at::Tensor> StepGraphs::Run(const scheduling::StepPlan& plan,
                                          const TorchModel& model) {
  if (backend_ == nullptr || !IsOnlyDecodes(plan)) return std::nullopt;
  const Size size = SizeOf(plan);
  Bucket* const bucket = Find(size);
  if (bucket == nullptr) return std::nullopt;
  const std::int64_t keys = std::int64_t{size.width} * kKvBlockTokens;
  const auto fill = [&](Recorded& to) {
    to.inputs->Refill(Padded(plan, size.rows), *to.attention);
  };
  if (bucket->recorded != nullptr) {
    fill(*bucket->recorded);
  } else {
    auto recorded = std::make_unique<Recorded>();
    recorded->inputs.emplace(model::StepBuffer(cache_.shape().device));
    recorded->attention = model::MakePagedAttention(cache_);
    recorded->attention->ReserveKeys(keys);
    fill(*recorded);
    const auto work = [&model](Recorded& of) {
      return model.Forward(/*rank=*/0, model.llava().Embed(of.inputs->ids_T()), *of.attention,
                           {.positions_T = of.inputs->positions_T()});
    };
    Record(*bucket, std::move(recorded), work,
           absl::StrCat("steps of ", size.rows, " rows with contexts up to ", keys, " tokens"));
    if (bucket->recorded == nullptr) return std::nullopt;
  }
  return Replay(*bucket).narrow(0, 0, plan.total_tokens);
}

std::optional<at::Tensor> StepGraphs::Encode(const Digest& version, const at::Tensor& pixels,
                                             const Features& features) {
  const std::int64_t tiles = pixels.size(0);
  if (backend_ == nullptr || tiles > kMostTiles) return std::nullopt;
  Bucket* const bucket = Find({.version = version, .rows = static_cast<int>(tiles), .width = 0});
  if (bucket == nullptr) return std::nullopt;
  if (bucket->recorded != nullptr) {
    bucket->recorded->pixels.copy_(pixels);
  } else {
    auto recorded = std::make_unique<Recorded>();
    recorded->pixels = pixels.clone();
    Record(
        *bucket, std::move(recorded), [features](Recorded& of) { return features(of.pixels); },
        absl::StrCat("pictures of ", tiles, " tiles"));
    if (bucket->recorded == nullptr) return std::nullopt;
  }
  return Replay(*bucket);
}

StepGraphs::Bucket* StepGraphs::Find(const Size& size) {
  ++runs_;
  Bucket& bucket = buckets_[size];
  if (bucket.has_failed || !std::exchange(bucket.was_met, true)) return nullptr;
  if (bucket.recorded == nullptr && !MakeRoom()) return nullptr;
  return &bucket;
}

// The step with rows that pad it, and without samples: of all rows there is a hidden state.
const scheduling::StepPlan& StepGraphs::Padded(const scheduling::StepPlan& plan, int rows) {
  padded_.Clear();
  padded_.version = plan.version;
  padded_.chunks = plan.chunks;
  for (int row = plan.total_tokens; row < rows; ++row) {
    padded_.chunks.push_back({.sequence = {},
                              .start = 0,
                              .first_token = row,
                              .token_ids = {&kPadding, 1},
                              .blocks = {&spare_, 1}});
  }
  padded_.total_tokens = rows;
  return padded_;
}

// Whether one graph more may be recorded.
bool StepGraphs::MakeRoom() {
  if (counts_.held < kMostGraphs && counts_.bytes < max_bytes_) return true;
  Bucket* oldest = nullptr;
  for (auto& [size, bucket] : buckets_) {
    if (bucket.recorded == nullptr) continue;
    if (oldest == nullptr || bucket.last_run < oldest->last_run) oldest = &bucket;
  }
  if (oldest == nullptr || runs_ - oldest->last_run < kLongAgo) return false;
  Free(*oldest);
  return counts_.bytes < max_bytes_;
}

void StepGraphs::Record(Bucket& bucket, std::unique_ptr<Recorded> recorded,
                        const std::function<at::Tensor(Recorded&)>& work, const std::string& what) {
  absl::StatusOr<std::unique_ptr<StepGraph>> graph =
      backend_->Capture([&to = *recorded, work] { to.result = work(to); });
  if (!graph.ok()) {
    bucket.has_failed = true;
    ++counts_.failures;
    warn_(absl::StrCat(what, " are run without a CUDA graph: ", graph.status().message()));
    return;
  }
  recorded->graph = *std::move(graph);
  counts_.bytes += recorded->graph->bytes();
  ++counts_.held;
  ++counts_.captures;
  bucket.recorded = std::move(recorded);
}

at::Tensor StepGraphs::Replay(Bucket& bucket) {
  bucket.last_run = runs_;
  bucket.recorded->graph->Replay();
  ++counts_.replays;
  return bucket.recorded->result;
}

void StepGraphs::Free(Bucket& bucket) {
  if (bucket.recorded == nullptr) return;
  counts_.bytes -= bucket.recorded->graph->bytes();
  --counts_.held;
  bucket = {};
}

void StepGraphs::GiveMemory() {
  for (auto& [size, bucket] : buckets_) Free(bucket);
  max_bytes_ /= 2;
}

void StepGraphs::Drop(const Digest& version) {
  for (auto bucket = buckets_.begin(); bucket != buckets_.end();) {
    if (bucket->first.version != version) {
      ++bucket;
      continue;
    }
    Free(bucket->second);
    bucket = buckets_.erase(bucket);
  }
}

}  // namespace llava::engine
