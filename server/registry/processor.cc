#include "server/registry/processor.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "model/config/image_layout.h"
#include "model/grammar/grammar_compiler.h"
#include "model/image/preprocess.h"
#include "model/text/detokenizer.h"
#include "model/text/prompt.h"
#include "server/registry/stop_matcher.h"

namespace llava::registry {
namespace {

class Decoder final : public engine::TextDecoder {
 public:
  Decoder(const model::Tokenizer& tokenizer, std::vector<std::string> stop, bool goes_on)
      : detokenizer_(tokenizer, goes_on), may_stop_(!stop.empty()), stop_(std::move(stop)) {}

  bool may_stop() const override { return may_stop_; }

  Delta Push(std::int32_t token) override {
    std::string text = stop_.Push(detokenizer_.Push(token));
    return {.text = std::move(text), .stopped = stop_.matched()};
  }

  Delta Finish() override {
    std::string text = stop_.Push(detokenizer_.Finish());
    return {.text = text + stop_.Finish(), .stopped = stop_.matched()};
  }

 private:
  model::Detokenizer detokenizer_;
  const bool may_stop_;
  StopMatcher stop_;
};

// From the headers of the files alone.
absl::StatusOr<std::vector<model::ImageLayout>> LayoutsOf(const model::LlavaConfig& config,
                                                          std::span<const absl::string_view> images,
                                                          int* bad_image) {
  std::vector<model::ImageLayout> layouts;
  const int count = static_cast<int>(images.size());
  for (const absl::string_view image : images) {
    const auto header = model::ProbeImage(StdView(image));
    if (!header.ok()) {
      *bad_image = static_cast<int>(layouts.size());
      return header.status();
    }
    layouts.push_back(model::LayoutOf(config, header->upright_size(), count));
  }
  return layouts;
}

// `text` behind what the assistant has said: in the same part, or the template would write what it
// has between two parts.
void AppendAnswer(const std::string& text, std::vector<model::ChatMessage>* messages) {
  if (messages->back().role != model::Role::kAssistant) {
    messages->push_back({.role = model::Role::kAssistant});
  }
  std::vector<model::MessagePart>& parts = messages->back().parts;
  auto* begun = parts.empty() ? nullptr : std::get_if<std::string>(&parts.back());
  if (begun != nullptr) {
    *begun += text;
  } else {
    parts.emplace_back(text);
  }
}

// The conversation with `text` as its answer, or as the rest of it where the last message is the
// assistant's. It is as the template writes a turn of the assistant, but only where that begins as
// `asked` does, the prompt for an answer, and ends with the text, with white space between them at
// most: some templates have "\n" in the one and " \n" in the other, some write an empty thought
// into the turn, and a model that is asked never says those; some trim the text, which may begin
// with white space.
absl::StatusOr<std::vector<model::PromptPart>> RenderAnswered(
    const model::ChatTemplate& chat_template, std::span<const model::ChatMessage> messages,
    const std::vector<model::PromptPart>& asked, const std::string& text) {
  std::vector<model::ChatMessage> whole(messages.begin(), messages.end());
  AppendAnswer(text, &whole);
  ASSIGN_OR_RETURN(std::vector<model::PromptPart> answered, chat_template.Render(whole));
  const std::string prompt = model::PromptText(asked);
  const std::string ended = model::PromptText(answered);
  absl::string_view turn = ended;
  if (absl::ConsumePrefix(&turn, prompt) && absl::ConsumeSuffix(&turn, text) &&
      absl::StripLeadingAsciiWhitespace(turn).empty()) {
    return answered;
  }
  answered = asked;
  answered.emplace_back(model::TextPart{text, /*control=*/false});
  return answered;
}

PreparedPrompt PromptOf(const model::PromptTokens& tokens,
                        std::span<const model::ImageLayout> layouts) {
  PreparedPrompt prepared;
  for (const ImageSpan& span : tokens.image_spans) {
    prepared.files.push_back(span.image);
    prepared.images.emplace_back();
    prepared.images.back().offset = span.offset;
    prepared.images.back().count = span.count;
    prepared.images.back().tiles = layouts[static_cast<std::size_t>(span.image)].tiles;
  }
  prepared.prompt_ids.assign(tokens.ids.begin(), tokens.ids.end());
  return prepared;
}

}  // namespace

struct Processor::Parts {
  model::LlavaConfig config;
  model::Tokenizer tokenizer;
  model::ChatTemplate chat_template;
  model::Preprocessor preprocessor;
  std::vector<std::string> warnings;
};

Processor::Processor(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Processor::~Processor() = default;

absl::StatusOr<std::shared_ptr<const Processor>> Processor::Load(
    const std::string& dir, const std::string& vision_tower_dir,
    const std::string& chat_template_name) {
  ASSIGN_OR_RETURN(model::LlavaConfig config, model::ReadConfig(dir, vision_tower_dir));
  ASSIGN_OR_RETURN(model::Tokenizer tokenizer, model::Tokenizer::Load(dir, config.layout));
  RETURN_IF_ERROR(tokenizer.CheckFits(config.text.vocab_size));
  std::vector<std::string> warnings;
  const std::string beyond = tokenizer.BeyondEmbedding(config.text.vocab_size);
  if (!beyond.empty()) warnings.push_back(beyond);
  ASSIGN_OR_RETURN(model::ChatTemplate chat_template,
                   chat_template_name.empty() ? model::ChatTemplate::ForCheckpoint(dir, config)
                                              : model::ChatTemplate::ByName(chat_template_name));
  ASSIGN_OR_RETURN(const model::PreprocessSettings settings,
                   model::ReadPreprocessSettings(dir, config));
  auto parts = std::make_unique<const Parts>(
      Parts{std::move(config), std::move(tokenizer), std::move(chat_template),
            model::Preprocessor(settings), std::move(warnings)});
  return std::shared_ptr<const Processor>(new Processor(std::move(parts)));
}

absl::StatusOr<PreparedPrompt> Processor::Prepare(std::span<const model::ChatMessage> messages,
                                                  std::span<const absl::string_view> images,
                                                  const model::ImageLimits& limits, int* bad_image,
                                                  const model::ChatTemplate* chat_template) const {
  // Headers and text first: they are cheap, and most wrong requests are wrong there.
  ASSIGN_OR_RETURN(PreparedPrompt prepared,
                   PrepareText(messages, images, bad_image, chat_template));
  for (std::size_t i = 0; i < prepared.images.size(); ++i) {
    const int file = prepared.files[i];
    const absl::Status status =
        PrepareImage(images[static_cast<std::size_t>(file)], limits, &prepared.images[i]);
    if (!status.ok()) {
      *bad_image = file;
      return status;
    }
  }
  return prepared;
}

absl::StatusOr<PreparedPrompt> Processor::PrepareText(
    std::span<const model::ChatMessage> messages, std::span<const absl::string_view> images,
    int* bad_image, const model::ChatTemplate* chat_template,
    std::span<const model::ToolFunction> functions) const {
  ASSIGN_OR_RETURN(const std::vector<model::ImageLayout> layouts,
                   LayoutsOf(parts_->config, images, bad_image));
  ASSIGN_OR_RETURN(const model::PromptTokens prompt,
                   model::BuildPrompt(
                       messages, chat_template != nullptr ? *chat_template : parts_->chat_template,
                       parts_->tokenizer, parts_->config, layouts, functions));
  return PromptOf(prompt, layouts);
}

absl::StatusOr<PreparedPrompt> Processor::PrepareContinuations(
    std::span<const model::ChatMessage> messages, std::span<const std::string> continuations,
    std::span<const absl::string_view> images, int* bad_image, int* bad_continuation,
    std::vector<std::vector<std::int32_t>>* forced) const {
  ASSIGN_OR_RETURN(const std::vector<model::ImageLayout> layouts,
                   LayoutsOf(parts_->config, images, bad_image));
  ASSIGN_OR_RETURN(const std::vector<model::PromptPart> asked,
                   parts_->chat_template.Render(messages));
  ASSIGN_OR_RETURN(const model::PromptTokens tokens,
                   model::BuildPrompt(asked, parts_->tokenizer, parts_->config, layouts));
  PreparedPrompt prompt = PromptOf(tokens, layouts);
  std::vector<std::int32_t>& shared = prompt.prompt_ids;
  for (std::size_t i = 0; i < continuations.size(); ++i) {
    *bad_continuation = static_cast<int>(i);
    ASSIGN_OR_RETURN(const std::vector<model::PromptPart> answered,
                     RenderAnswered(parts_->chat_template, messages, asked, continuations[i]));
    ASSIGN_OR_RETURN(const model::PromptTokens ended,
                     model::BuildPrompt(answered, parts_->tokenizer, parts_->config, layouts));
    const auto end =
        std::mismatch(shared.begin(), shared.end(), ended.ids.begin(), ended.ids.end());
    shared.erase(end.first, shared.end());
    forced->emplace_back(ended.ids.begin(), ended.ids.end());
  }
  for (std::size_t i = 0; i < forced->size(); ++i) {
    *bad_continuation = static_cast<int>(i);
    std::vector<std::int32_t>& ids = (*forced)[i];
    if (ids.size() == shared.size()) {
      return absl::InvalidArgumentError("adds no token to the prompt, expected text");
    }
    ids.erase(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(shared.size()));
  }
  *bad_continuation = -1;
  const auto in_prompt = [&](const scheduling::ImageInput& image) {
    return image.offset + image.count <= static_cast<int>(shared.size());
  };
  if (!shared.empty() && std::all_of(prompt.images.begin(), prompt.images.end(), in_prompt)) {
    return prompt;
  }
  return absl::InvalidArgumentError(
      "the chat template writes another prompt before each of the choices");
}

absl::Status Processor::PrepareImage(absl::string_view file, const model::ImageLimits& limits,
                                     scheduling::ImageInput* image) const {
  ASSIGN_OR_RETURN(const model::RgbImage decoded, model::DecodeImage(StdView(file), limits));
  const model::ImageLayout layout =
      model::LayoutOfTiles(parts_->config, {decoded.width, decoded.height}, image->tiles);
  model::PixelValues pixels = parts_->preprocessor.Process(decoded, layout);
  image->digest = pixels.digest;
  image->tiles = pixels.tiles;
  image->picture_height = decoded.height;
  image->picture_width = decoded.width;
  image->height = pixels.height;
  image->width = pixels.width;
  image->pixels_CHW = std::move(pixels.bytes);
  image->pixel_table = std::move(pixels.table);
  return absl::OkStatus();
}

absl::StatusOr<const model::GrammarCompiler*> Processor::Grammars() const {
  const MutexLock lock(&mutex_);
  if (grammars_ == nullptr) {
    const model::TextConfig& text = parts_->config.text;
    ASSIGN_OR_RETURN(grammars_, model::GrammarCompiler::Create(
                                    parts_->tokenizer, text.eos_token_ids, text.vocab_size));
  }
  return grammars_.get();
}

absl::StatusOr<std::shared_ptr<const model::TokenConstraint>> Processor::Constrain(
    const model::AnswerFormat& format, const std::function<absl::Status()>& check_alive) const {
  ASSIGN_OR_RETURN(const model::GrammarCompiler* grammars, Grammars());
  return grammars->Compile(format, check_alive);
}

engine::TextDecoderFactory Processor::MakeDecoderFactory(std::vector<std::string> stop,
                                                         bool goes_on) const {
  const std::vector<std::string> own = parts_->chat_template.stops();
  stop.insert(stop.end(), own.begin(), own.end());
  return [this, stop = std::move(stop), goes_on] {
    return std::make_unique<Decoder>(parts_->tokenizer, stop, goes_on);
  };
}

const model::LlavaConfig& Processor::config() const { return parts_->config; }
const model::Tokenizer& Processor::tokenizer() const { return parts_->tokenizer; }
const model::ChatTemplate& Processor::chat_template() const { return parts_->chat_template; }

model::CallFormat Processor::call_format() const { return parts_->chat_template.call_format(); }
const std::vector<std::string>& Processor::warnings() const { return parts_->warnings; }

std::vector<std::int32_t> Processor::end_token_ids() const {
  const std::vector<int>& ids = parts_->config.text.eos_token_ids;
  return {ids.begin(), ids.end()};
}

}  // namespace llava::registry
