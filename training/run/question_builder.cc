#include "training/run/question_builder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "model/image.h"
#include "model/prompt.h"
#include "training/run/durable_files.h"

namespace llava::training {
namespace {

// The question without the picture's placeholder, which the template writes itself.
std::string WithoutPlaceholder(const std::string& text) {
  const std::string bare = absl::StrReplaceAll(text, {{"<image>", ""}});
  return std::string(absl::StripAsciiWhitespace(bare));
}

// The answer as it stands behind the prompt's last word: "ASSISTANT: red" ends in one token for
// " red", whatever the tokenizer puts in front of a text that stands alone.
std::vector<int> AnswerIds(const model::Tokenizer& tokenizer, const std::string& answer) {
  const model::TextPart before{":", false};
  const model::TextPart after{absl::StrCat(" ", answer), false};
  const std::vector<int> alone = tokenizer.Encode(std::vector{before});
  std::vector<int> both = tokenizer.Encode(std::vector{before, after});
  if (both.size() <= alone.size() || !std::equal(alone.begin(), alone.end(), both.begin())) {
    return tokenizer.Encode(std::vector{after}, /*at_start=*/false);
  }
  both.erase(both.begin(), both.begin() + std::ssize(alone));
  return both;
}

// Cuts a sample that is too long from its end.
void Truncate(std::int64_t max_length, Sample* sample) {
  const std::int64_t surplus = std::ssize(sample->ids) - max_length;
  if (surplus <= 0) return;
  sample->truncated_tokens = static_cast<std::int32_t>(surplus);
  sample->ids.resize(static_cast<std::size_t>(max_length));
  sample->labels.resize(static_cast<std::size_t>(max_length));
  std::erase_if(sample->image_spans,
                [&](const ImageSpan& span) { return span.offset >= max_length; });
  for (ImageSpan& span : sample->image_spans) {
    span.count = std::min(span.count, static_cast<std::int32_t>(max_length) - span.offset);
  }
  if (sample->image_spans.empty()) sample->images.clear();
}

}  // namespace

QuestionBuilder::QuestionBuilder(const model::LlavaConfig& config,
                                 const model::Tokenizer& tokenizer,
                                 model::ChatTemplate chat_template,
                                 const model::Preprocessor& preprocessor, std::string images_dir,
                                 std::int64_t max_length)
    : config_(config),
      tokenizer_(tokenizer),
      chat_template_(std::move(chat_template)),
      preprocessor_(preprocessor),
      images_dir_(std::move(images_dir)),
      max_length_(max_length) {}

absl::StatusOr<std::vector<SampleImage>> QuestionBuilder::ReadImages(const Row& row) const {
  std::vector<SampleImage> images;
  for (const std::string& name : row.images) {
    ASSIGN_OR_RETURN(const std::string bytes, ReadWholeFile(absl::StrCat(images_dir_, "/", name)));
    absl::StatusOr<model::RgbImage> image = model::DecodeImage(bytes);
    if (!image.ok()) return Annotate(image.status(), name);
    model::PixelValues pixels = preprocessor_.Process(*image);
    images.push_back({std::move(pixels.values), pixels.height, pixels.width, pixels.digest});
  }
  return images;
}

absl::StatusOr<Sample> QuestionBuilder::BuildOne(const Row& row, const std::string& question,
                                                 const std::string& answer,
                                                 const std::vector<SampleImage>& images) const {
  model::ChatMessage message;
  if (!images.empty()) message.parts.push_back(model::ImagePart{0});
  message.parts.push_back(WithoutPlaceholder(question));
  ASSIGN_OR_RETURN(const model::PromptTokens prompt,
                   model::BuildPrompt(std::vector{message}, chat_template_, tokenizer_, config_,
                                      static_cast<int>(images.size())));
  Sample sample;
  sample.id = row.id;
  sample.ids.assign(prompt.ids.begin(), prompt.ids.end());
  sample.labels.assign(sample.ids.size(), kIgnoreLabel);
  std::vector<int> answer_ids = AnswerIds(tokenizer_, answer);
  answer_ids.push_back(config_.text.eos_token_ids.front());
  for (const int id : answer_ids) {
    sample.ids.push_back(id);
    sample.labels.push_back(id);
  }
  for (const model::ImageSpan& span : prompt.image_spans) {
    sample.image_spans.push_back({span.offset, span.count, span.image});
  }
  sample.images = images;
  Truncate(max_length_, &sample);
  return sample;
}

absl::StatusOr<std::vector<Sample>> QuestionBuilder::Build(const Row& row) const {
  if (row.images.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "has ", row.images.size(), " pictures, expected at most one where turns are split"));
  }
  ASSIGN_OR_RETURN(const std::vector<SampleImage> images, ReadImages(row));
  std::vector<Sample> samples;
  for (std::size_t i = 0; i + 1 < row.turns.size(); i += 2) {
    ASSIGN_OR_RETURN(Sample sample,
                     BuildOne(row, row.turns[i].text, row.turns[i + 1].text, images));
    samples.push_back(std::move(sample));
  }
  return samples;
}

}  // namespace llava::training
