// The data of a run's stages: what is trained with, and what is held back to validate with.
#ifndef LLAVA_TRAINING_RUN_STAGE_DATA_H_
#define LLAVA_TRAINING_RUN_STAGE_DATA_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/digest.h"
#include "model/network/llava.h"
#include "training/data/conversation_builder.h"
#include "training/data/picture_record.h"
#include "training/distributed/ranks.h"
#include "training/objective/conversation_feed.h"
#include "training/objective/objective.h"
#include "training/objective/validation.h"
#include "training/recipe/recipe.h"
#include "training/run/opened_run.h"
#include "training/run/sample_answers.h"

namespace llava::training {

// Used by the training thread. What it refers to outlives it.
class StageData {
 public:
  // `pictures` may be nullptr: then nobody records what they were.
  StageData(const OpenedRun& run, const model::Llava& model, Ranks& ranks, const Clock& clock,
            std::function<void(const std::string&)> on_message,
            std::shared_ptr<PictureRecord> pictures);

  // What would end the run later: rows or labels that cannot be read or teach nothing, another
  // template, questions for the published version. The stage that comes first, number `next`, is
  // about to be opened. The first rank looks for all.
  absl::Status CheckAll(std::int64_t next) const;

  // What a stage learns from, from `first_step` on. The errors of the data, and of CheckTeaches.
  absl::StatusOr<std::unique_ptr<Objective>> Make(StageOptions stage, std::int64_t first_step);

  // What the stage that was made last is validated with; nullptr when its recipe wants none.
  absl::StatusOr<std::unique_ptr<Validation>> MakeValidation(const StageOptions& stage);

  // Of the rows of the last MakeValidation: those that the model is asked after a validation, and
  // the name of the chat template in which it is asked; "": the checkpoint's own.
  const SampleQuestions& questions() const { return questions_; }

 private:
  absl::Status Check(const StageOptions& stage, bool is_opened_next) const;
  absl::Status CheckRows(const StageOptions& stage) const;
  absl::Status CheckRecorded(const std::vector<std::string>& files,
                             const std::vector<Digest>& digests) const;
  absl::Status UseScenes(DataOptions* data) const;
  absl::StatusOr<std::unique_ptr<Objective>> MakePatchLabels(const StageOptions& stage,
                                                             std::int64_t first_step) const;
  absl::StatusOr<std::unique_ptr<Objective>> MakeConversation(const StageOptions& stage,
                                                              std::int64_t first_step);
  absl::StatusOr<std::unique_ptr<ConversationBuilder>> MakeBuilder(const DataOptions& data) const;
  absl::StatusOr<ValidationRows> HeldOutRows(const StageOptions& stage) const;

  const OpenedRun& run_;
  const Recipe& recipe_;
  const model::Llava& model_;
  Ranks& ranks_;
  const Clock& clock_;
  const std::function<void(const std::string&)> on_message_;
  const std::shared_ptr<PictureRecord> pictures_;
  std::shared_ptr<ConversationFeed> feed_;  // of the stage that was made last
  std::string images_;                      // its pictures
  SampleQuestions questions_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_STAGE_DATA_H_
