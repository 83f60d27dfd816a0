#include "server/torch/device_memory.h"

#include <ATen/DeviceAccelerator.h>
#include <ATen/ops/zeros.h>
#include <c10/core/Allocator.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/attention_limits.h"
#include "base/machine/memory.h"
#include "base/status_macros.h"
#include "model/attention/kv_cache.h"
#include "model/attention/paged_attention.h"
#include "model/attention/to_device.h"
#include "model/ranks/rank_threads.h"

namespace llava::server {
namespace {

// More rows than this do not sample in one step by default.
constexpr int kSampledRows = 256;

std::int64_t BlocksOf(int tokens) { return (tokens + kKvBlockTokens - 1) / kKvBlockTokens; }

std::int64_t AllocatedPeak(at::DeviceIndex gpu) {
  const auto stats = at::accelerator::getDeviceStats(gpu);
  return stats.allocated_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)]
      .peak;
}

std::int64_t AllocatedNow(at::DeviceIndex gpu) {
  const auto stats = at::accelerator::getDeviceStats(gpu);
  return stats.allocated_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)]
      .current;
}

// Prompts as long as the model takes them, `tokens` in all, on the blocks of `table` in order.
struct Prompts {
  std::vector<model::PagedSequence> sequences;
  std::vector<std::int64_t> positions;
};

Prompts MakePrompts(int tokens, int max_positions, std::span<const std::int32_t> table) {
  const int longest = std::max(max_positions / kKvBlockTokens, 1) * kKvBlockTokens;
  Prompts prompts;
  for (int row = 0; row < tokens; row += longest) {
    const int length = std::min(tokens - row, longest);
    const auto first_block = static_cast<std::size_t>(row / kKvBlockTokens);
    const std::int64_t blocks = BlocksOf(length);
    prompts.sequences.push_back(
        {.first_row = row,
         .tokens = length,
         .context = 0,
         .blocks = table.subspan(first_block, static_cast<std::size_t>(blocks))});
    for (int i = 0; i < length; ++i) prompts.positions.push_back(i);
  }
  return prompts;
}

void EncodeTile(const model::Llava& llava) {
  const std::int64_t side = llava.config().vision.image_size;
  const auto options = at::TensorOptions().device(llava.device()).dtype(at::kFloat);
  llava.EncodeImages(at::zeros({1, 3, side, side}, options));
}

// What one rank does of it, from the rows on; rank 0 has made those.
absl::Status RunRank(const engine::TorchModel& model, int rank, const at::Tensor& rows,
                     model::RankThreads& threads) {
  const c10::InferenceMode inference;
  const auto tokens = static_cast<int>(rows.size(0));
  const model::KvShape shape = model.kv_shape(rank);
  ASSIGN_OR_RETURN(
      model::KvCache cache,
      model::KvCache::Create(shape, BlocksOf(tokens) * model::KvCache::BlockBytes(shape)));
  std::vector<std::int32_t> table(static_cast<std::size_t>(BlocksOf(tokens)));
  std::iota(table.begin(), table.end(), 0);
  const Prompts prompts = MakePrompts(tokens, model.llava().config().text.max_positions, table);
  const std::unique_ptr<model::PagedAttention> attention = model::MakePagedAttention(cache);
  attention->Refill(prompts.sequences);
  const at::Tensor hidden =
      model.Forward(rank, rows, *attention,
                    {.positions_T = model::ToDevice(prompts.positions, shape.device),
                     .sum = [&](const at::Tensor& tensor) { threads.Sum(rank, tensor); }});
  const at::Tensor some = hidden.narrow(0, 0, std::min(tokens, kSampledRows));
  (rank == 0 ? model.llava().Logits(some) : some).to(at::kCPU);
  return absl::OkStatus();
}

}  // namespace

// A graph of a large model has some 400 launches, of which the driver keeps less than a MiB, and
// all of them share what the largest computes in: 256 rows, an eighth of a step that is measured.
// Half a GiB is enough for 64; on a small device the KV cache is worth more than the last of them.
std::int64_t GraphBytes(std::int64_t total) {
  return std::min<std::int64_t>(total / 50, std::int64_t{512} << 20);
}

absl::Status RunStep(const engine::TorchModel& model, int tokens) {
  const c10::InferenceMode inference;
  const model::Llava& llava = model.llava();
  EncodeTile(llava);
  const at::Tensor rows = llava.Embed(
      model::ToDevice(std::vector<std::int64_t>(static_cast<std::size_t>(tokens)), llava.device()));
  ASSIGN_OR_RETURN(const auto threads, model::RankThreads::Start(model.devices(), /*threads=*/0));
  return threads->Run([&](int rank) { return RunRank(model, rank, rows, *threads); });
}

absl::StatusOr<DeviceMemory> MemoryOfDevice(at::Device device) {
  if (device.is_cpu()) {
    const std::int64_t available = AvailableMemory();
    return DeviceMemory{.total = available, .free = available};
  }
  try {
    at::accelerator::emptyCache();
    const auto [free, total] = at::accelerator::getMemoryInfo(device.index());
    return DeviceMemory{.total = static_cast<std::int64_t>(total),
                        .free = static_cast<std::int64_t>(free)};
  } catch (const c10::Error& error) {
    return absl::InternalError(
        absl::StrCat(device.str(), ": its memory: ", error.what_without_backtrace()));
  }
}

absl::StatusOr<std::int64_t> MeasureStepOn(const engine::TorchModel& model, int tokens) {
  const std::vector<at::Device> devices = model.devices();
  if (devices.front().is_cpu()) return 0;
  try {
    std::vector<std::int64_t> before;
    for (const at::Device device : devices) {
      before.push_back(AllocatedNow(device.index()));
      at::accelerator::resetPeakStats(device.index());
    }
    RETURN_IF_ERROR(RunStep(model, tokens));
    std::int64_t most = 0;
    for (std::size_t rank = 0; rank < devices.size(); ++rank) {
      const std::int64_t kv_cache =
          BlocksOf(tokens) * model::KvCache::BlockBytes(model.kv_shape(static_cast<int>(rank)));
      most = std::max(most, AllocatedPeak(devices[rank].index()) - before[rank] - kv_cache);
    }
    return most;
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(absl::StrCat(devices.front().str(), ": a step of ", tokens,
                                                     " tokens: ", error.what_without_backtrace()));
  }
}

}  // namespace llava::server
