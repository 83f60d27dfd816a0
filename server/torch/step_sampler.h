// Samples the rows of a step where their logits are.
#ifndef LLAVA_SERVER_TORCH_STEP_SAMPLER_H_
#define LLAVA_SERVER_TORCH_STEP_SAMPLER_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/sampled_token.h"
#include "model/attention/to_device.h"
#include "model/network/sampler.h"

namespace llava::engine {

// The contract is that of model/network/sampler.h. On a device its steps are operators over all
// rows at once, from the row's parameters, which go there in one copy, to the tokens, which come
// back in another; nobody waits before Collect. What the form of an answer leaves goes there too, a
// bit a word: threads compute it in Launch, while the device is still at the step's logits. Rows
// that want what is neither list nor mask, and rows with drafts whose processors count the tokens
// before them, come back whole and are sampled by the CPU. Engine thread only, under
// c10::InferenceMode. Shape letters: R rows of logits, S samples, D samples that are drawn, F of
// these that are cut to their likeliest tokens, M samples with masks, B bytes of a mask, L samples
// with log probabilities, V words.
class StepSampler {
 public:
  // `numbers`: of the device of the logits. `on_device`: false where the CPU is as near.
  StepSampler(model::StepBuffer numbers, bool on_device)
      : numbers_(std::move(numbers)), on_device_(on_device) {}

  // As model::SampleRow, of row `row` of the logits. Several may be of one row.
  struct Row {
    std::int64_t row = 0;
    model::SampleContext context;
    std::int32_t draft = kNotSampled;
  };
  using Tokens = std::vector<absl::StatusOr<SampledToken>>;

  // Asks the device for the tokens, or for the logits that the CPU takes. logits_RV: floats of any
  // width. What the rows point to stays until Collect.
  void Launch(const at::Tensor& logits_RV, std::span<const Row> rows);
  // Once after each Launch: waits for the device. Row by row what model::BatchSampler gives.
  Tokens Collect();

 private:
  // Numbers of one kind, here and on the device.
  template <typename T>
  struct Column {
    std::vector<T> values;
    model::StepBuffer::Part part{};
  };
  // What one processor does to each sample: places of [S, V], and LogitChange there.
  struct Changes {
    Column<std::int64_t> places;
    Column<float> penalties, minus, plus;
  };

  bool IsForDevice(std::span<const Row> run);
  void AddForDevice(const Row& row, std::size_t index, std::int64_t words);
  void SendNumbers();
  void ComputeMasks();
  template <typename F>
  void ForEachColumn(F f);
  at::Tensor SampleThere(const at::Tensor& logits_RV) const;
  void SampleHere(Tokens& tokens);
  at::Tensor Changed(const at::Tensor& logits_SV) const;
  at::Tensor Masked(const at::Tensor& x_SV) const;
  at::Tensor Drawn(const at::Tensor& x_DV) const;
  at::Tensor Likeliest(const at::Tensor& x_FV, const at::Tensor& weights_FV) const;
  void Explain(const at::Tensor& logits_SV, const at::Tensor& tokens_S,
               std::vector<at::Tensor>& pieces) const;
  void Read(Tokens& tokens) const;

  template <typename T>
  at::Tensor Get(const Column<T>& column) const {
    return numbers_.Get(column.part);
  }
  std::int64_t tops() const;

  model::StepBuffer numbers_;
  const bool on_device_;
  model::BatchSampler sampler_;

  // From Launch to Collect: what comes back, and when it is there.
  std::vector<Row> asked_;
  at::Tensor results_;      // of the samples there, as Read takes them apart
  at::Tensor logits_here_;  // fp32, of rows_here_, or of all
  std::optional<c10::Event> sent_;

  // Of the step, kept for the next one's.
  std::int64_t words_ = 0;                 // V
  std::vector<std::size_t> here_, there_;  // of the rows: by the CPU, and by the device (S)
  Column<std::int64_t> rows_;              // S
  Column<std::int64_t> rows_here_;         // of the logits, each once
  std::vector<Changes> changes_;           // by processor
  Column<std::int64_t> masked_;            // M: of S
  model::StepBuffer::Part masks_{};        // of 32 bits a number, M after each other
  Column<std::int64_t> drawn_;             // D: of S
  Column<float> scales_;                   // D: of the exponents
  Column<double> least_, uniforms_;        // D: weight, place of the draw
  Column<std::int64_t> cut_;               // F: of D
  Column<std::int64_t> top_k_;             // F
  Column<double> top_p_;                   // F; infinity: all
  Column<std::int64_t> explained_;         // L: of S
  std::int64_t most_tops_ = 0;
  std::vector<std::vector<model::LogitChange>> listed_;  // of one row, by processor
};

}  // namespace llava::engine

#endif  // LLAVA_SERVER_TORCH_STEP_SAMPLER_H_
