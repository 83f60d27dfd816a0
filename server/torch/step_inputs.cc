#include "server/torch/step_inputs.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/check.h"

namespace llava::engine {

void StepInputs::Refill(const scheduling::StepPlan& plan) {
  FillSequences(plan);
  FindRows(plan);
  FindAdapted(plan);
  const std::int64_t tokens = plan.total_tokens;
  const std::int64_t rows = std::ssize(rows_);
  std::int64_t of_adapters = 0;
  for (const RowsOfAdapter& one : rows_of_adapters_) {
    of_adapters += std::ssize(one.rows) + std::ssize(one.wanted);
  }
  const std::span<std::int64_t> numbers =
      numbers_.Fill<std::int64_t>(2 * tokens + rows + of_adapters);
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
  std::copy(rows_.begin(), rows_.end(), numbers.begin() + 2 * tokens);
  auto place = numbers.begin() + 2 * tokens + rows;
  for (const RowsOfAdapter& one : rows_of_adapters_) {
    place = std::copy(one.rows.begin(), one.rows.end(), place);
    place = std::copy(one.wanted.begin(), one.wanted.end(), place);
  }
  const at::Tensor sent = numbers_.Send();
  ids_T_ = sent.narrow(0, 0, tokens);
  positions_T_ = sent.narrow(0, tokens, tokens);
  rows_R_ = sent.narrow(0, 2 * tokens, rows);
  std::int64_t first = 2 * tokens + rows;
  const auto take = [&](const std::vector<std::int64_t>& numbers_of) {
    return sent.narrow(0, std::exchange(first, first + std::ssize(numbers_of)),
                       std::ssize(numbers_of));
  };
  adapted_.clear();
  for (const RowsOfAdapter& one : rows_of_adapters_) {
    Adapted adapted{.adapter = one.adapter, .rows_N = take(one.rows), .wanted_N = take(one.wanted)};
    // What is left undefined need not be picked out.
    if (std::ssize(one.rows) == tokens) adapted.rows_N = adapted.wanted_N = at::Tensor();
    adapted_.push_back(std::move(adapted));
  }
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
