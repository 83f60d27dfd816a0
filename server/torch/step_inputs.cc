#include "server/torch/step_inputs.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/check.h"

namespace llava::engine {

void StepInputs::Refill(const scheduling::StepPlan& plan, model::PagedAttention& attention) {
  FillSequences(plan);
  FindRows(plan);
  FindAdapted(plan);
  numbers_.Begin();
  const model::StepBuffer::Part part = AddNumbers(plan);
  attention.Plan(sequences_, numbers_);
  numbers_.Send();
  const at::Tensor sent = numbers_.Get(part);
  std::int64_t first = 0;
  const auto take = [&](std::int64_t count) {
    return sent.narrow(0, std::exchange(first, first + count), count);
  };
  ids_T_ = take(plan.total_tokens);
  positions_T_ = take(plan.total_tokens);
  rows_R_ = take(std::ssize(rows_));
  adapted_.clear();
  for (const RowsOfAdapter& one : rows_of_adapters_) {
    Adapted adapted{.adapter = one.adapter,
                    .rows_N = take(std::ssize(one.rows)),
                    .wanted_N = take(std::ssize(one.wanted))};
    // What is left undefined need not be picked out.
    if (std::ssize(one.rows) == plan.total_tokens) adapted.rows_N = adapted.wanted_N = at::Tensor();
    adapted_.push_back(std::move(adapted));
  }
}

// Ids, positions, rows and those of adapters, one after the other.
model::StepBuffer::Part StepInputs::AddNumbers(const scheduling::StepPlan& plan) {
  const std::int64_t tokens = plan.total_tokens;
  std::int64_t count = 2 * tokens + std::ssize(rows_);
  for (const RowsOfAdapter& one : rows_of_adapters_) {
    count += std::ssize(one.rows) + std::ssize(one.wanted);
  }
  const auto [part, numbers] = numbers_.Add<std::int64_t>(count);
  std::int64_t next = 0;
  for (const scheduling::Chunk& chunk : plan.chunks) {
    LLAVA_CHECK_EQ(chunk.first_token, next);
    std::copy(chunk.token_ids.begin(), chunk.token_ids.end(), numbers.begin() + next);
    const auto positions = numbers.subspan(tokens + next, chunk.token_ids.size());
    std::iota(positions.begin(), positions.end(), chunk.start);
    next += std::ssize(chunk.token_ids);
  }
  LLAVA_CHECK_EQ(next, tokens);
  // The ids of image tokens may be anything; features take the place of their embeddings.
  for (const scheduling::ImageRows& image : plan.image_rows) {
    std::fill_n(numbers.begin() + image.first_row, image.count, 0);
  }
  auto place = std::copy(rows_.begin(), rows_.end(), numbers.begin() + 2 * tokens);
  for (const RowsOfAdapter& one : rows_of_adapters_) {
    place = std::copy(one.rows.begin(), one.rows.end(), place);
    place = std::copy(one.wanted.begin(), one.wanted.end(), place);
  }
  return part;
}

// Those of the chunks, each adapter once, and which of rows_ lie in them.
void StepInputs::FindAdapted(const scheduling::StepPlan& plan) {
  rows_of_adapters_.clear();
  auto row = rows_.begin();
  for (const scheduling::Chunk& chunk : plan.chunks) {
    const std::int64_t begin = chunk.first_token, end = begin + std::ssize(chunk.token_ids);
    const auto first = row;
    while (row != rows_.end() && *row < end) ++row;
    if (chunk.adapter == nullptr) continue;
    auto at = std::find_if(rows_of_adapters_.begin(), rows_of_adapters_.end(),
                           [&](const auto& one) { return one.adapter == chunk.adapter; });
    if (at == rows_of_adapters_.end()) {
      at = rows_of_adapters_.insert(at, {chunk.adapter, {}, {}});
    }
    for (std::int64_t i = begin; i < end; ++i) at->rows.push_back(i);
    for (auto i = first; i != row; ++i) at->wanted.push_back(i - rows_.begin());
  }
}

void StepInputs::FillSequences(const scheduling::StepPlan& plan) {
  tables_.clear();
  for (const scheduling::Chunk& chunk : plan.chunks) {
    for (const scheduling::BlockId block : chunk.blocks) tables_.push_back(block.value());
  }
  sequences_.clear();
  std::span<const std::int32_t> tables = tables_;
  for (const scheduling::Chunk& chunk : plan.chunks) {
    sequences_.push_back({.first_row = chunk.first_token,
                          .tokens = std::ssize(chunk.token_ids),
                          .context = chunk.start,
                          .blocks = tables.first(chunk.blocks.size())});
    tables = tables.subspan(chunk.blocks.size());
  }
}

// Samples of one row follow each other.
void StepInputs::FindRows(const scheduling::StepPlan& plan) {
  rows_.clear();
  row_of_sample_.clear();
  for (const scheduling::Sample& sample : plan.samples) {
    if (rows_.empty() || rows_.back() != sample.row) rows_.push_back(sample.row);
    row_of_sample_.push_back(std::ssize(rows_) - 1);
  }
}

}  // namespace llava::engine
