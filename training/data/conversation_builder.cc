#include "training/data/conversation_builder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "model/text/prompt.h"
#include "training/data/tar/picture_file.h"
#include "training/data/trainable.h"

namespace llava::training {
namespace {

// Cuts to `max_length` tokens; images that lie wholly behind are dropped, one that is cut through
// keeps its first feature rows.
void Truncate(std::int64_t max_length, Sample* sample) {
  const auto size = static_cast<std::int64_t>(sample->ids.size());
  if (size <= max_length) return;
  sample->truncated_tokens = static_cast<std::int32_t>(size - max_length);
  sample->ids.resize(static_cast<std::size_t>(max_length));
  sample->labels.resize(static_cast<std::size_t>(max_length));
  const auto end = static_cast<std::int32_t>(max_length);
  std::erase_if(sample->image_spans, [end](const ImageSpan& span) { return span.offset >= end; });
  for (ImageSpan& span : sample->image_spans) span.count = std::min(span.count, end - span.offset);
  sample->images.resize(sample->image_spans.size());
}

// Behind its sliding window or the scaling of its positions a model is not computed as it was made:
// what stands there would teach something else. Says so, or "".
std::string BoundLength(const model::TextConfig& text, std::int64_t* max_length) {
  const bool is_bound = text.context_bound != model::ContextBound::kPositions;
  if (!is_bound || *max_length <= text.max_positions) return "";
  *max_length = text.max_positions;
  return absl::StrCat("samples are cut at ", text.max_positions,
                      " tokens, where the model's context ends: ",
                      AbslView(model::ContextBoundText(text.context_bound)));
}

// A tower of CLIP takes the middle of what its shorter side is resized to, where tiles are resized
// to whatever their canvas is.
void ReadAsOneTile(const model::LlavaConfig& config, model::ImageAspect aspect,
                   model::PreprocessSettings* settings) {
  settings->aspect = aspect;
  const bool clip = config.vision.tower == model::VisionConfig::Tower::kClip;
  if (config.has_tiles() && clip) settings->shortest_edge = settings->image_size;
}

std::string WithoutPlaceholders(const std::string& text) {
  const std::string bare = absl::StrReplaceAll(text, {{"<image>", ""}});
  return std::string(absl::StripAsciiWhitespace(bare));
}

// `text` with `images` placeholders before it instead of its own.
std::string ImagesFirst(std::size_t pictures, const std::string& text) {
  std::string result;
  for (std::size_t i = 0; i < pictures; ++i) absl::StrAppend(&result, "<image>\n");
  return absl::StrCat(result, WithoutPlaceholders(text));
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

// A question as the daemon gets it: its images first, the next of all from `shown` on.
model::ChatMessage AsMessage(const std::string& text, std::size_t images, std::size_t* shown) {
  model::ChatMessage message;
  if (images == 0) {
    message.parts.emplace_back(text);
    return message;
  }
  const std::vector<std::string> around = absl::StrSplit(text, std::string(kImagePlaceholder));
  for (std::size_t i = 1; i < around.size(); ++i) {
    message.parts.emplace_back(model::ImagePart{static_cast<int>((*shown)++)});
  }
  message.parts.emplace_back(WithoutPlaceholders(text));
  return message;
}

bool BeginsWith(const std::vector<int>& ids, const std::vector<int>& beginning) {
  return ids.size() >= beginning.size() &&
         std::equal(beginning.begin(), beginning.end(), ids.begin());
}

// Each answer is one run of labels; those that are not learned from are taken back. `run`: the
// number of the first one, -1 where it is no answer's.
void MaskUnlearned(const Row& row, std::int64_t run, std::vector<int>* labels) {
  for (std::size_t i = 0; i < labels->size();) {
    if ((*labels)[i] == kIgnoreLabel) {
      ++i;
      continue;
    }
    const std::int64_t turn = 2 * run++ + 1;
    const bool is_answer = turn >= 0 && turn < std::ssize(row.turns);
    const bool is_learned = !is_answer || row.turns[static_cast<std::size_t>(turn)].is_learned;
    for (; i < labels->size() && (*labels)[i] != kIgnoreLabel; ++i) {
      if (!is_learned) (*labels)[i] = kIgnoreLabel;
    }
  }
}

}  // namespace

// How a picture is read depends on how many are shown with it, and their number may differ between
// the samples of a row.
class ConversationBuilder::Pictures {
 public:
  explicit Pictures(const ConversationBuilder& builder) : builder_(builder) {}

  void Add(model::RgbImage pixels) {
    const model::ImageSize size{pixels.width, pixels.height};
    pictures_.push_back({size, std::move(pixels), {}});
  }

  void AddUnread(const model::ImageSize& size) { pictures_.push_back({size, std::nullopt, {}}); }

  std::size_t size() const { return pictures_.size(); }

  // Of the first `count`, which are shown together.
  std::vector<model::ImageLayout> Layouts(std::size_t count) const {
    std::vector<model::ImageLayout> layouts;
    for (std::size_t i = 0; i < count; ++i) layouts.push_back(LayoutOf(pictures_.at(i), count));
    return layouts;
  }

  std::vector<SampleImage> Images(std::size_t count) {
    std::vector<SampleImage> images;
    for (std::size_t i = 0; i < count; ++i) {
      images.push_back(Read(LayoutOf(pictures_.at(i), count), pictures_[i]));
    }
    return images;
  }

 private:
  struct Picture {
    model::ImageSize size;
    std::optional<model::RgbImage> pixels;
    std::vector<SampleImage> read;  // each with another layout
  };

  model::ImageLayout LayoutOf(const Picture& picture, std::size_t count) const {
    const model::LlavaConfig& config = builder_.config_;
    if (builder_.options_.aspect) return {.tiles = 1, .tokens = config.tile_tokens()};
    return model::LayoutOf(config, picture.size, static_cast<int>(count));
  }

  const SampleImage& Read(const model::ImageLayout& layout, Picture& picture) const {
    for (const SampleImage& image : picture.read) {
      if (image.layout == layout) return image;
    }
    SampleImage& image = picture.read.emplace_back();
    image.layout = layout;
    if (!picture.pixels) return image;
    model::PixelValues values = builder_.preprocessor_.Process(*picture.pixels, layout);
    image.pixels = std::move(values.bytes);
    image.table = std::move(values.table);
    image.height = values.height;
    image.width = values.width;
    image.digest = values.digest;
    return image;
  }

  const ConversationBuilder& builder_;
  std::vector<Picture> pictures_;
};

absl::StatusOr<model::ChatTemplate> TrainingTemplate(std::string_view name) {
  if (name == "plain" || name == "llava_llama_2" || name == "chatml")
    return model::ChatTemplate::ByName(name);
  if (name == "v0" || name == "llava_v0") return model::ChatTemplate::ByName("llava_v0");
  if (name == "v1" || name == "vicuna_v1") return model::ChatTemplate::ByName("vicuna_v1");
  if (name == "mistral" || name == "mistral_instruct") {
    return model::ChatTemplate::ByName("mistral_instruct");
  }
  return absl::InvalidArgumentError(
      absl::StrCat("template is '", AbslView(name),
                   "', expected plain, v0, v1, llava_llama_2, mistral, chatml or serving"));
}

ConversationBuilder::ConversationBuilder(model::LlavaConfig config, model::Tokenizer tokenizer,
                                         model::ChatTemplate chat_template,
                                         model::PreprocessSettings preprocess,
                                         ConversationOptions options)
    : config_(std::move(config)),
      tokenizer_(std::move(tokenizer)),
      chat_template_(std::move(chat_template)),
      preprocessor_(preprocess),
      options_(std::move(options)) {}

absl::StatusOr<ConversationBuilder> ConversationBuilder::Make(const std::string& checkpoint,
                                                              const std::string& vision_tower_dir,
                                                              const ConversationOptions& options) {
  ASSIGN_OR_RETURN(model::LlavaConfig config, model::ReadConfig(checkpoint, vision_tower_dir));
  RETURN_IF_ERROR(CheckTrainable(config, checkpoint));
  if (config.image_start_end) {
    return absl::UnimplementedError(
        absl::StrCat(checkpoint, ": training with mm_use_im_start_end is not supported"));
  }
  ASSIGN_OR_RETURN(model::Tokenizer tokenizer, model::Tokenizer::Load(checkpoint, config.layout));
  RETURN_IF_ERROR(tokenizer.CheckFits(config.text.vocab_size));
  std::vector<std::string> warnings;
  const std::string beyond = tokenizer.BeyondEmbedding(config.text.vocab_size);
  if (!beyond.empty()) warnings.push_back(beyond);
  ASSIGN_OR_RETURN(model::ChatTemplate chat_template,
                   options.chat_template == kServingTemplate
                       ? model::ChatTemplate::ForCheckpoint(checkpoint, config)
                       : TrainingTemplate(options.chat_template));
  ASSIGN_OR_RETURN(model::PreprocessSettings preprocess,
                   model::ReadPreprocessSettings(checkpoint, config));
  if (options.max_length < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_length is ", options.max_length, ", expected at least 2"));
  }
  if (options.aspect) ReadAsOneTile(config, *options.aspect, &preprocess);
  ConversationOptions bounded = options;
  const std::string cut = BoundLength(config.text, &bounded.max_length);
  if (!cut.empty()) warnings.push_back(cut);
  ConversationBuilder builder(std::move(config), std::move(tokenizer), std::move(chat_template),
                              preprocess, std::move(bounded));
  builder.warnings_ = std::move(warnings);
  return builder;
}

absl::StatusOr<std::vector<Sample>> ConversationBuilder::Build(const Row& row) const {
  Pictures pictures(*this);
  for (const std::string& path : row.images) {
    auto pixels = ReadPicture(row.images_dir.empty() ? options_.images_dir : row.images_dir, path);
    if (!pixels.ok()) return Annotate(pixels.status(), path);
    pictures.Add(*std::move(pixels));
  }
  return Build(row, pictures);
}

absl::StatusOr<std::vector<Sample>> ConversationBuilder::BuildWithoutPixels(const Row& row) const {
  const int side = config_.vision.image_size;
  Pictures pictures(*this);
  for (std::size_t i = 0; i < row.images.size(); ++i) pictures.AddUnread({side, side});
  return Build(row, pictures);
}

absl::StatusOr<std::vector<Sample>> ConversationBuilder::Build(const Row& row,
                                                               Pictures& pictures) const {
  std::vector<Sample> samples;
  const std::vector<Row> rows = options_.split_turns ? SplitTurns(row) : std::vector<Row>{row};
  for (const Row& one : rows) {
    std::vector<model::LabelledTokens> labelled;
    if (options_.chat_template == kServingTemplate) {
      ASSIGN_OR_RETURN(labelled, LabelServedAnswers(one, pictures));
    } else {
      ASSIGN_OR_RETURN(model::LabelledTokens tokens, LabelTurns(one, pictures));
      labelled.push_back(std::move(tokens));
    }
    for (model::LabelledTokens& tokens : labelled) {
      samples.push_back(AsSample(one, std::move(tokens), pictures));
    }
  }
  return samples;
}

// With those of the images that its part of the conversation has shown.
Sample ConversationBuilder::AsSample(const Row& row, model::LabelledTokens tokens,
                                     Pictures& pictures) const {
  Sample sample;
  sample.id = row.id;
  sample.ids = std::move(tokens.ids);
  sample.labels = std::move(tokens.labels);
  sample.image_spans = std::move(tokens.image_spans);
  sample.images = pictures.Images(sample.image_spans.size());
  Truncate(options_.max_length, &sample);
  return sample;
}

absl::StatusOr<model::LabelledTokens> ConversationBuilder::LabelTurns(
    const Row& row, const Pictures& pictures) const {
  std::vector<model::TrainingTurn> turns;
  for (const Turn& turn : row.turns) turns.push_back({turn.speaker == Speaker::kHuman, turn.text});
  ASSIGN_OR_RETURN(model::LabelledTokens tokens,
                   model::LabelConversation(turns, chat_template_, tokenizer_, config_,
                                            pictures.Layouts(pictures.size()), row.system));
  const bool is_v0 = chat_template_.name() == "llava_v0";  // learns how the first turn begins
  MaskUnlearned(row, is_v0 ? -1 : 0, &tokens.labels);
  return tokens;
}

// Of a conversation as llavad would hold it: each learned answer's tokens and the EOS behind it are
// labelled, all else is masked. One sample, where the next prompt repeats what was shown and
// answered token by token; where it does not, a new one begins with the next answer: LLaVA-1.5's
// template in Hugging Face's layout drops the EOS, and of OneVision's pictures the first has fewer
// tokens once there is a second.
absl::StatusOr<std::vector<model::LabelledTokens>> ConversationBuilder::LabelServedAnswers(
    const Row& row, const Pictures& pictures) const {
  std::vector<model::ChatMessage> messages;
  if (!row.system.empty()) messages.push_back({model::Role::kSystem, {row.system}});
  std::size_t shown = 0;
  std::vector<model::LabelledTokens> samples(1);
  for (std::size_t i = 0; i + 1 < row.turns.size(); i += 2) {
    messages.push_back(AsMessage(row.turns[i].text, pictures.size(), &shown));
    ASSIGN_OR_RETURN(
        model::PromptTokens prompt,
        model::BuildPrompt(messages, chat_template_, tokenizer_, config_, pictures.Layouts(shown)));
    if (!BeginsWith(prompt.ids, samples.back().ids)) samples.emplace_back();
    model::LabelledTokens& tokens = samples.back();
    tokens.labels.resize(prompt.ids.size(), kIgnoreLabel);
    tokens.ids = std::move(prompt.ids);
    tokens.image_spans = std::move(prompt.image_spans);
    std::vector<int> answer = AnswerIds(tokenizer_, row.turns[i + 1].text);
    answer.push_back(config_.text.eos_token_ids.front());
    tokens.ids.insert(tokens.ids.end(), answer.begin(), answer.end());
    if (!row.turns[i + 1].is_learned) answer.assign(answer.size(), kIgnoreLabel);
    tokens.labels.insert(tokens.labels.end(), answer.begin(), answer.end());
    messages.push_back({model::Role::kAssistant, {row.turns[i + 1].text}});
  }
  std::erase_if(samples, [](const model::LabelledTokens& tokens) {
    return std::all_of(tokens.labels.begin(), tokens.labels.end(),
                       [](int label) { return label == kIgnoreLabel; });
  });
  return samples;
}

absl::StatusOr<model::RgbImage> ConversationBuilder::ReadPicture(const std::string& folder,
                                                                 const std::string& path) const {
  if (folder.empty()) {
    return absl::FailedPreconditionError("is in no folder: expected one of pictures (data.images)");
  }
  const std::string file = absl::StrCat(folder, "/", path);
  ASSIGN_OR_RETURN(const std::string bytes, ReadPictureFile(file, options_.limits.max_bytes));
  // An archive is a data file, whose own digest is recorded.
  if (options_.pictures && !IsInTar(file)) {
    RETURN_IF_ERROR(options_.pictures->Check(file, bytes));
  }
  return model::DecodeImage(bytes, options_.limits);
}

std::vector<Row> SplitTurns(const Row& row) {
  std::vector<Row> rows;
  for (std::size_t i = 0; i + 1 < row.turns.size(); i += 2) {
    Row one{row.id, row.images, {row.turns[i], row.turns[i + 1]}, row.system, row.images_dir};
    if (!row.images.empty()) one.turns[0].text = ImagesFirst(row.images.size(), one.turns[0].text);
    rows.push_back(std::move(one));
  }
  return rows;
}

}  // namespace llava::training
