// What a step reads beside weights, images and cache: the numbers of its plan, as the model takes
// them.
#ifndef LLAVA_SERVER_TORCH_STEP_INPUTS_H_
#define LLAVA_SERVER_TORCH_STEP_INPUTS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "model/attention/paged_attention.h"
#include "model/attention/to_device.h"
#include "server/scheduling/plan.h"

namespace llava::engine {

// Kept by the executor and refilled for each step, so that a step makes no tensors of its own and
// sends its numbers to the device in one copy, with those of the attention. Shape letters: T tokens
// of the step, R rows that sample. The thread of its device only.
class StepInputs {
 public:
  // `numbers`: of the device.
  explicit StepInputs(model::StepBuffer numbers) : numbers_(std::move(numbers)) {}

  // Everything below describes `plan` until the next Refill, and `attention` its batch. REQUIRES:
  // chunks that cover the rows [0, total_tokens) one after the other.
  void Refill(const scheduling::StepPlan& plan, model::PagedAttention& attention);

  const at::Tensor& ids_T() const { return ids_T_; }              // int64; 0 for image tokens
  const at::Tensor& positions_T() const { return positions_T_; }  // int64, within each sequence
  const at::Tensor& rows_R() const { return rows_R_; }            // int64, each once, ascending
  // For each sample of the plan the place of its row in rows_R.
  std::span<const std::int64_t> row_of_sample() const { return row_of_sample_; }
  // The chunks; their block tables are here.
  std::span<const model::PagedSequence> sequences() const { return sequences_; }

  // The rows of one adapter. Both undefined: all of them.
  struct Adapted {
    const scheduling::Adapter* adapter;
    at::Tensor rows_N;    // int64, of the batch
    at::Tensor wanted_N;  // int64, of rows_R
  };
  // Of each adapter of the plan.
  std::span<const Adapted> adapted() const { return adapted_; }

 private:
  void FillSequences(const scheduling::StepPlan& plan);
  model::StepBuffer::Part AddNumbers(const scheduling::StepPlan& plan);
  void FindRows(const scheduling::StepPlan& plan);
  void FindAdapted(const scheduling::StepPlan& plan);

  struct RowsOfAdapter {
    const scheduling::Adapter* adapter;
    std::vector<std::int64_t> rows, wanted;
  };

  model::StepBuffer numbers_;
  at::Tensor ids_T_, positions_T_, rows_R_;
  std::vector<RowsOfAdapter> rows_of_adapters_;
  std::vector<Adapted> adapted_;
  std::vector<std::int64_t> rows_;
  std::vector<std::int64_t> row_of_sample_;
  std::vector<std::int32_t> tables_;  // block tables, one after the other
  std::vector<model::PagedSequence> sequences_;
};

}  // namespace llava::engine

#endif  // LLAVA_SERVER_TORCH_STEP_INPUTS_H_
