#include "model/text/prompt.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"

namespace llava::model {
namespace {

constexpr std::string_view kImageMark = "<image>";

// Every image exactly once.
absl::Status CheckImages(std::span<const PromptPart> parts, int num_images) {
  std::vector<int> uses(static_cast<std::size_t>(num_images), 0);
  int places = 0;
  for (const PromptPart& part : parts) {
    const auto* image = std::get_if<ImagePart>(&part);
    if (image == nullptr) continue;
    ++places;
    if (image->index < 0 || image->index >= num_images) continue;
    ++uses[static_cast<std::size_t>(image->index)];
  }
  for (const int count : uses) {
    if (count == 1 && places == num_images) continue;
    return absl::InvalidArgumentError(absl::StrCat("images: expected each of the ", num_images,
                                                   " images once in the prompt, found ", places,
                                                   " places for them"));
  }
  if (places != num_images) {
    return absl::InvalidArgumentError(
        absl::StrCat("images: expected ", num_images, " places in the prompt, found ", places));
  }
  return absl::OkStatus();
}

absl::Status CheckImageStartEnd(const Tokenizer& tokenizer, const LlavaConfig& config) {
  if (!config.image_start_end) return absl::OkStatus();
  for (const std::string_view token : {"<im_start>", "<im_end>"}) {
    if (tokenizer.IdOf(token).has_value()) continue;
    return absl::InvalidArgumentError(absl::StrCat("tokenizer: expected the token ",
                                                   AbslView(token),
                                                   " (mm_use_im_start_end), found no such token"));
  }
  return absl::OkStatus();
}

std::int64_t TokensOf(std::span<const ImageLayout> images) {
  std::int64_t tokens = 0;
  for (const ImageLayout& image : images) tokens += image.tokens;
  return tokens;
}

std::int64_t TextBytes(std::span<const PromptPart> parts) {
  std::int64_t bytes = 0;
  for (const PromptPart& part : parts) {
    const auto* text = std::get_if<TextPart>(&part);
    if (text != nullptr) bytes += static_cast<std::int64_t>(text->text.size());
  }
  return bytes;
}

class Encoder {
 public:
  Encoder(const Tokenizer& tokenizer, const LlavaConfig& config,
          std::span<const ImageLayout> images, bool at_start)
      : tokenizer_(tokenizer), config_(config), images_(images), at_start_(at_start) {}

  void Add(const PromptPart& part) {
    if (const auto* text = std::get_if<TextPart>(&part)) {
      texts_.push_back(*text);
      return;
    }
    if (config_.image_start_end) texts_.push_back({"<im_start>", true});
    FlushTexts();
    AddImage(std::get<ImagePart>(part).index);
    if (config_.image_start_end) texts_.push_back({"<im_end>", true});
  }

  PromptTokens Take() {
    FlushTexts();
    return std::move(out_);
  }

 private:
  void FlushTexts() {
    const std::vector<int> ids = tokenizer_.Encode(texts_, at_start_);
    out_.ids.insert(out_.ids.end(), ids.begin(), ids.end());
    texts_.clear();
  }

  void AddImage(int image) {
    LLAVA_CHECK(image >= 0 && static_cast<std::size_t>(image) < images_.size());
    const int count = images_[static_cast<std::size_t>(image)].tokens;
    out_.image_spans.push_back({static_cast<int>(out_.ids.size()), count, image});
    out_.ids.insert(out_.ids.end(), static_cast<std::size_t>(count), config_.image_token_id);
    // Every text is tokenized on its own, or what puts marks gets it so.
    at_start_ = config_.layout == Layout::kOriginal || tokenizer_.settings().marks_in_normalizer;
  }

  const Tokenizer& tokenizer_;
  const LlavaConfig& config_;
  const std::span<const ImageLayout> images_;
  bool at_start_;
  std::vector<TextPart> texts_;  // since the last image
  PromptTokens out_;
};

// BOS once: a raw prompt may begin with its own.
void PutBos(const Tokenizer& tokenizer, PromptTokens& prompt) {
  if (!tokenizer.adds_bos()) return;
  if (!prompt.ids.empty() && prompt.ids.front() == tokenizer.bos_id()) return;
  prompt.ids.insert(prompt.ids.begin(), tokenizer.bos_id());
  for (ImageSpan& span : prompt.image_spans) ++span.offset;
}

}  // namespace

absl::Status CheckTokenIds(std::span<const int> ids, const Tokenizer& tokenizer,
                           const LlavaConfig& config) {
  for (const int id : ids) {
    if (id < config.text.vocab_size) continue;
    return absl::InvalidArgumentError(absl::StrCat("prompt: expected tokens below the embedding's ",
                                                   config.text.vocab_size, " rows, found ", id,
                                                   " (\"", tokenizer.TokenText(id), "\")"));
  }
  return absl::OkStatus();
}

PromptTokens EncodeParts(std::span<const PromptPart> parts, const Tokenizer& tokenizer,
                         const LlavaConfig& config, std::span<const ImageLayout> images,
                         bool at_start) {
  Encoder encoder(tokenizer, config, images, at_start);
  for (const PromptPart& part : parts) encoder.Add(part);
  return encoder.Take();
}

absl::StatusOr<PromptTokens> BuildPrompt(std::span<const PromptPart> parts,
                                         const Tokenizer& tokenizer, const LlavaConfig& config,
                                         std::span<const ImageLayout> images) {
  RETURN_IF_ERROR(CheckImages(parts, static_cast<int>(images.size())));
  RETURN_IF_ERROR(CheckImageStartEnd(tokenizer, config));
  const std::int64_t image_tokens = TokensOf(images);
  // What cannot fit is not tokenized at all.
  const std::int64_t least = image_tokens + TextBytes(parts) / tokenizer.max_token_bytes();
  PromptTokens prompt;
  if (least < config.text.max_positions) {
    prompt = EncodeParts(parts, tokenizer, config, images, true);
    PutBos(tokenizer, prompt);
  }
  RETURN_IF_ERROR(CheckTokenIds(prompt.ids, tokenizer, config));
  const std::int64_t size = std::max(least, static_cast<std::int64_t>(prompt.ids.size()));
  if (size >= config.text.max_positions) {
    const std::string_view why = ContextBoundText(config.text.context_bound);
    return absl::InvalidArgumentError(
        absl::StrCat("prompt: expected fewer than ", config.text.max_positions,
                     " tokens (the model's context", why.empty() ? "" : ": ", AbslView(why),
                     ", with room for an answer), found ", prompt.ids.empty() ? "at least " : "",
                     size, ", of which ", image_tokens, " for ", images.size(), " images"));
  }
  return prompt;
}

absl::StatusOr<PromptTokens> BuildPrompt(std::span<const ChatMessage> messages,
                                         const ChatTemplate& chat_template,
                                         const Tokenizer& tokenizer, const LlavaConfig& config,
                                         std::span<const ImageLayout> images,
                                         std::span<const ToolFunction> functions) {
  ASSIGN_OR_RETURN(const std::vector<PromptPart> parts, chat_template.Render(messages, functions));
  return BuildPrompt(parts, tokenizer, config, images);
}

absl::StatusOr<PromptTokens> BuildRawPrompt(std::string_view text, const Tokenizer& tokenizer,
                                            const LlavaConfig& config,
                                            std::span<const ImageLayout> images) {
  std::vector<PromptPart> parts;
  int places = 0;
  for (;;) {
    const std::size_t at = text.find(kImageMark);
    parts.emplace_back(TextPart{std::string(text.substr(0, at)), true});
    if (at == std::string_view::npos) break;
    parts.emplace_back(ImagePart{places++});
    text.remove_prefix(at + kImageMark.size());
  }
  return BuildPrompt(parts, tokenizer, config, images);
}

}  // namespace llava::model
