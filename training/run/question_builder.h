// One sample for each question of a row, its prompt exactly as serving would send it: what a model
// learns that is asked one question at a time. The questions of a row show the same picture, so the
// trainer computes their common beginning once (training/run/packed_batch.h).
#ifndef LLAVA_TRAINING_RUN_QUESTION_BUILDER_H_
#define LLAVA_TRAINING_RUN_QUESTION_BUILDER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/chat_template.h"
#include "model/config.h"
#include "model/preprocess.h"
#include "model/tokenizer.h"
#include "training/data/sample_builder.h"

namespace llava::training {

// Immutable: any thread. The tokenizer outlives it.
class QuestionBuilder final : public SampleBuilder {
 public:
  QuestionBuilder(const model::LlavaConfig& config, const model::Tokenizer& tokenizer,
                  model::ChatTemplate chat_template, const model::Preprocessor& preprocessor,
                  std::string images_dir, std::int64_t max_length);

  // A labelled answer is its tokens and EOS; all else is masked. INVALID_ARGUMENT: a picture that
  // does not decode, a row with more than one picture.
  absl::StatusOr<std::vector<Sample>> Build(const Row& row) const override;

 private:
  absl::StatusOr<Sample> BuildOne(const Row& row, const std::string& question,
                                  const std::string& answer,
                                  const std::vector<SampleImage>& images) const;
  absl::StatusOr<std::vector<SampleImage>> ReadImages(const Row& row) const;

  const model::LlavaConfig config_;
  const model::Tokenizer& tokenizer_;
  const model::ChatTemplate chat_template_;
  const model::Preprocessor preprocessor_;
  const std::string images_dir_;
  const std::int64_t max_length_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_QUESTION_BUILDER_H_
