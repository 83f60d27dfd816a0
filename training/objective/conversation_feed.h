// The batches of a conversation stage in order: data set, sampler and prefetch workers put
// together.
#ifndef LLAVA_TRAINING_OBJECTIVE_CONVERSATION_FEED_H_
#define LLAVA_TRAINING_OBJECTIVE_CONVERSATION_FEED_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "training/data/collator.h"
#include "training/data/holdout.h"
#include "training/data/instruction_dataset.h"
#include "training/data/length_grouped_sampler.h"
#include "training/data/prefetcher.h"
#include "training/data/sample_builder.h"
#include "training/recipe/recipe.h"

namespace llava::training {

struct FeedPosition {
  std::uint64_t seed = 0;
  std::int64_t first_step = 0;
  std::int64_t rank = 0;
  std::int64_t ranks = 1;
  std::int64_t passes = 1;  // of each rank in a step
};

// The rows of a stage, each of them checked. `on_issue`, when given, gets each that is bad. The
// errors of InstructionDataset::Open; INVALID_ARGUMENT: more bad rows than max_bad_share allows.
absl::StatusOr<InstructionDataset> OpenRows(const StageOptions& stage,
                                            const std::function<void(const RowIssue&)>& on_issue);

// Used by the training thread; owns the prefetch threads.
class ConversationFeed {
 public:
  // `on_bad` gets a line for each row that is left out (of rows without the same picture, for the
  // first), from any thread, one call at a time. Rows that stage.validate holds back are not fed.
  // The errors of OpenRows and HoldOutRows.
  static absl::StatusOr<std::unique_ptr<ConversationFeed>> Open(
      const StageOptions& stage, std::unique_ptr<SampleBuilder> builder,
      const FeedPosition& position, std::function<void(const std::string&)> on_bad);

  // The next pass of this rank. The errors of Prefetcher::Next.
  absl::StatusOr<Batch> Next() { return prefetcher_->Next(); }

  std::int64_t steps_per_epoch() const { return sampler_.steps_per_epoch(); }
  // Shared with a validation of the rows that are held back.
  const std::shared_ptr<const InstructionDataset>& dataset() const { return dataset_; }
  const std::shared_ptr<const SampleBuilder>& builder() const { return builder_; }
  const std::vector<std::int64_t>& held_out() const { return split_.held_out; }

 private:
  ConversationFeed(InstructionDataset dataset, HoldOut split,
                   std::unique_ptr<SampleBuilder> builder, const SamplerOptions& sampler,
                   const FeedPosition& position);

  std::vector<std::int64_t> Rows(std::int64_t pass);

  const std::shared_ptr<const InstructionDataset> dataset_;
  const std::shared_ptr<const SampleBuilder> builder_;
  const HoldOut split_;
  const std::vector<std::int32_t> lengths_;  // of the rows that are trained with
  LengthGroupedSampler sampler_;
  const FeedPosition position_;
  std::unique_ptr<Prefetcher> prefetcher_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OBJECTIVE_CONVERSATION_FEED_H_
