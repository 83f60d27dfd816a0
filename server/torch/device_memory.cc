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

}  // namespace

absl::Status RunStep(const engine::TorchModel& model, int tokens) {
  const c10::InferenceMode inference;
  const model::Llava& llava = model.llava();
  EncodeTile(llava);
  const std::int64_t block_bytes = model::KvCache::BlockBytes(model.kv_shape());
  ASSIGN_OR_RETURN(model::KvCache cache,
                   model::KvCache::Create(model.kv_shape(), BlocksOf(tokens) * block_bytes));
  std::vector<std::int32_t> table(static_cast<std::size_t>(BlocksOf(tokens)));
  std::iota(table.begin(), table.end(), 0);
  const Prompts prompts = MakePrompts(tokens, llava.config().text.max_positions, table);
  const std::unique_ptr<model::PagedAttention> attention = model::MakePagedAttention(cache);
  attention->Refill(prompts.sequences);
  const at::Tensor ids =
      model::ToDevice(std::vector<std::int64_t>(static_cast<std::size_t>(tokens)), llava.device());
  const at::Tensor hidden = llava.Forward(
      llava.Embed(ids), model::ToDevice(prompts.positions, llava.device()), *attention);
  llava.Logits(hidden.narrow(0, 0, std::min(tokens, kSampledRows))).to(at::kCPU);
  return absl::OkStatus();
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
  const at::Device device = model.llava().device();
  if (device.is_cpu()) return 0;
  try {
    const std::int64_t before = AllocatedNow(device.index());
    at::accelerator::resetPeakStats(device.index());
    RETURN_IF_ERROR(RunStep(model, tokens));
    const std::int64_t kv_cache = BlocksOf(tokens) * model::KvCache::BlockBytes(model.kv_shape());
    return std::max<std::int64_t>(0, AllocatedPeak(device.index()) - before - kv_cache);
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(absl::StrCat(device.str(), ": a step of ", tokens,
                                                     " tokens: ", error.what_without_backtrace()));
  }
}

}  // namespace llava::server
