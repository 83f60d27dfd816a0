// The SampleBuilder for LLaVA conversations and captions.
#ifndef LLAVA_TRAINING_DATA_CONVERSATION_BUILDER_H_
#define LLAVA_TRAINING_DATA_CONVERSATION_BUILDER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config/config.h"
#include "model/image/image.h"
#include "model/image/preprocess.h"
#include "model/text/chat_template.h"
#include "model/text/conversation_labels.h"
#include "model/text/tokenizer.h"
#include "training/data/picture_record.h"
#include "training/data/sample_builder.h"

namespace llava::training {

// The template under which every answer stands behind exactly the prompt that llavad makes of the
// turns before it, in the checkpoint's own template.
inline constexpr char kServingTemplate[] = "serving";

// "plain", "v0" (llava_v0), "v1" (vicuna_v1), "llava_llama_2", "mistral" (mistral_instruct),
// "chatml", as recipes and the reference's --version name them. INVALID_ARGUMENT lists them.
absl::StatusOr<model::ChatTemplate> TrainingTemplate(std::string_view name);

struct ConversationOptions {
  std::string images_dir = {};
  std::string chat_template = "v1";  // see TrainingTemplate, or kServingTemplate
  // Tokens of a sample, images expanded; no more than a model with a sliding window or a scaling of
  // positions can be computed for.
  std::int64_t max_length = 2048;
  bool split_turns = false;  // every question with the row's images is a sample of its own
  // Nothing: pictures as the checkpoint reads them. Else each is one tile, also where the
  // checkpoint has tiles, as in the first stage of the original code.
  std::optional<model::ImageAspect> aspect = std::nullopt;
  model::ImageLimits limits = {};
  std::shared_ptr<PictureRecord> pictures = nullptr;  // asked about each picture that is read
};

// Immutable after Make, hence thread-safe.
class ConversationBuilder : public SampleBuilder {
 public:
  // `checkpoint`: a folder with config.json, tokenizer and preprocessor; weights are not read.
  // `vision_tower_dir`: for the original layout, see ReadConfig.
  static absl::StatusOr<ConversationBuilder> Make(const std::string& checkpoint,
                                                  const std::string& vision_tower_dir,
                                                  const ConversationOptions& options);

  absl::StatusOr<std::vector<Sample>> Build(const Row& row) const override;

  // The same without reading the images: their SampleImages have no pixels, and the layouts of
  // images of the vision tower's own size, which are those of every image without tiles.
  absl::StatusOr<std::vector<Sample>> BuildWithoutPixels(const Row& row) const;

  const model::LlavaConfig& config() const { return config_; }
  const model::Tokenizer& tokenizer() const { return tokenizer_; }
  // About the checkpoint's tokenizer (Tokenizer::BeyondEmbedding), and samples that are cut sooner
  // than `max_length` says.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  class Pictures;  // of one row

  ConversationBuilder(model::LlavaConfig config, model::Tokenizer tokenizer,
                      model::ChatTemplate chat_template, model::PreprocessSettings preprocess,
                      ConversationOptions options);

  absl::StatusOr<std::vector<Sample>> Build(const Row& row, Pictures& pictures) const;
  Sample AsSample(const Row& row, model::LabelledTokens tokens, Pictures& pictures) const;
  absl::StatusOr<model::LabelledTokens> LabelTurns(const Row& row, const Pictures& pictures) const;
  absl::StatusOr<std::vector<model::LabelledTokens>> LabelServedAnswers(
      const Row& row, const Pictures& pictures) const;
  absl::StatusOr<model::RgbImage> ReadPicture(const std::string& folder,
                                              const std::string& path) const;

  model::LlavaConfig config_;
  model::Tokenizer tokenizer_;
  model::ChatTemplate chat_template_;
  model::Preprocessor preprocessor_;
  ConversationOptions options_;
  std::vector<std::string> warnings_;
};

// Rows of one question and answer each; all images move into the question.
std::vector<Row> SplitTurns(const Row& row);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_CONVERSATION_BUILDER_H_
