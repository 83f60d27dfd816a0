// How well a model does on rows that it is not trained with.
#ifndef LLAVA_TRAINING_OBJECTIVE_VALIDATION_H_
#define LLAVA_TRAINING_OBJECTIVE_VALIDATION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/network/llava.h"
#include "training/data/instruction_dataset.h"
#include "training/data/prefetcher.h"
#include "training/data/sample_builder.h"
#include "training/objective/conversation_objective.h"

namespace llava::training {

// Sums over rows, so that ranks add up.
struct ValidationSums {
  double loss = 0.0;
  std::int64_t targets = 0;  // label tokens
  std::int64_t correct = 0;  // of them that were the most likely choice
  std::int64_t rows = 0;     // bad ones are left out
  bool stopped = false;      // before all rows were seen
};

// Used by the training thread.
class Validation {
 public:
  virtual ~Validation() = default;

  // This rank's part of the rows, always in the same batches. Asks `stop` between batches. The
  // errors of Prefetcher::Next.
  virtual absl::StatusOr<ValidationSums> Run(const std::function<bool()>& stop) = 0;
};

struct ValidationRows {
  std::shared_ptr<const InstructionDataset> dataset;
  std::shared_ptr<const SampleBuilder> builder;
  std::vector<std::int64_t> rows;  // of the dataset; all ranks'
};

struct ValidationPlan {
  std::int64_t rank = 0;
  std::int64_t ranks = 1;
  std::int64_t batch = 1;    // rows a pass
  std::int64_t workers = 2;  // threads that decode pictures ahead
  bool tower_is_frozen = true;
  std::int64_t cache_bytes = 0;  // for features of a frozen tower
};

class ConversationValidation final : public Validation {
 public:
  // `model` outlives this.
  ConversationValidation(const model::Llava& model, ValidationRows rows,
                         const ValidationPlan& plan);

  absl::StatusOr<ValidationSums> Run(const std::function<bool()>& stop) override;

  const ValidationRows& rows() const { return rows_; }

 private:
  const ValidationRows rows_;
  const ValidationPlan plan_;
  std::vector<std::vector<std::int64_t>> batches_;  // of this rank
  std::unique_ptr<Prefetcher> prefetcher_;          // while it runs
  ConversationObjective objective_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OBJECTIVE_VALIDATION_H_
