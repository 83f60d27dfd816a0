#include "model/text/conversation_labels.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "model/text/white_space.h"

namespace llava::model {
namespace {

constexpr absl::string_view kImageMark = "<image>";
constexpr absl::string_view kTurnEnd = "</s>";
constexpr absl::string_view kChatmlStart = "<|im_start|>";
constexpr absl::string_view kChatmlEnd = "<|im_end|>";

// How a template writes a conversation, and what stands between question and answer in a round.
enum class Family { kVicuna, kV0, kLlama2, kChatml, kPlain };

absl::StatusOr<Family> FamilyOf(const ChatTemplate& chat_template) {
  const std::string& name = chat_template.name();
  if (name == "vicuna_v1" || name == "llava_v1") return Family::kVicuna;
  if (name == "llava_v0") return Family::kV0;
  if (name == "llava_llama_2" || name == "mistral_instruct") return Family::kLlama2;
  if (name == "chatml") return Family::kChatml;
  if (name == "plain") return Family::kPlain;
  return absl::InvalidArgumentError(
      absl::StrCat("template: expected one with training labels (vicuna_v1, llava_v1, llava_v0, "
                   "llava_llama_2, mistral_instruct, chatml, plain), found \"",
                   name, "\""));
}

int CountMarks(absl::string_view text) {
  int count = 0;
  for (std::size_t at = text.find(kImageMark); at != absl::string_view::npos;
       at = text.find(kImageMark, at + kImageMark.size())) {
    ++count;
  }
  return count;
}

absl::Status CheckTurns(std::span<const TrainingTurn> turns, int num_images) {
  int marks = 0;
  for (std::size_t i = 0; i < turns.size(); ++i) {
    if (turns[i].human != (i % 2 == 0) || turns[i].text.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "conversations[", i, "]: expected a text of the ", i % 2 == 0 ? "human" : "assistant",
          ", found ", turns[i].text.empty() ? "an empty one" : "the other speaker"));
    }
    marks += CountMarks(turns[i].text);
  }
  if (turns.empty() || (num_images > 0 && marks != num_images)) {
    return absl::InvalidArgumentError(absl::StrCat("conversations: expected turns with ",
                                                   num_images, " places for images, found ", marks,
                                                   " in ", turns.size(), " turns"));
  }
  return absl::OkStatus();
}

// preprocess_multimodal: the places for images come first.
std::string ImagesFirst(const std::string& text) {
  std::string out;
  for (int i = CountMarks(text); i > 0; --i) absl::StrAppend(&out, kImageMark, "\n");
  if (out.empty()) return text;
  out += StripWhiteSpace(absl::StrReplaceAll(text, {{kImageMark, ""}}));
  return std::string(StripWhiteSpace(out));
}

std::string VicunaText(const std::string& system, std::span<const std::string> turns) {
  std::string text = absl::StrCat(system, " ");
  for (std::size_t i = 0; i < turns.size(); ++i) {
    absl::StrAppend(&text, i % 2 == 0 ? "USER: " : "ASSISTANT: ", turns[i],
                    i % 2 == 0 ? " " : kTurnEnd);
  }
  return text;
}

// `begin` stands before every round but the first, whose own is BOS.
std::string Llama2Text(const std::string& system, absl::string_view begin,
                       std::span<const std::string> turns) {
  std::string text;
  for (std::size_t i = 0; i < turns.size(); ++i) {
    if (i % 2 == 1) {
      absl::StrAppend(&text, " ", turns[i], " ", kTurnEnd);
      continue;
    }
    absl::StrAppend(&text, i == 0 ? "" : begin, "[INST] ");
    if (i == 0 && !system.empty()) {
      absl::StrAppend(&text, "<<SYS>>\n", system, "\n<</SYS>>\n\n");
    }
    absl::StrAppend(&text, turns[i], " [/INST]");
  }
  return text;
}

std::string ChatmlText(const std::string& system, std::span<const std::string> turns) {
  std::string text;
  if (!system.empty()) {
    absl::StrAppend(&text, kChatmlStart, "system\n", system, kChatmlEnd, "\n");
  }
  for (std::size_t i = 0; i < turns.size(); ++i) {
    absl::StrAppend(&text, kChatmlStart, i % 2 == 0 ? "user\n" : "assistant\n", turns[i],
                    kChatmlEnd, "\n");
  }
  return text;
}

// The text as prompt parts: "<image>" is a place of the next image from `image` on, or plain text
// in a conversation without images.
std::vector<PromptPart> PartsOf(absl::string_view text, bool has_images, int image) {
  std::vector<PromptPart> parts;
  for (;;) {
    const std::size_t at = text.find(kImageMark);
    parts.emplace_back(TextPart{std::string(text.substr(0, at)), true});
    if (at == absl::string_view::npos) return parts;
    if (has_images) {
      parts.emplace_back(ImagePart{image++});
    } else {
      parts.emplace_back(TextPart{std::string(kImageMark), false});
    }
    text.remove_prefix(at + kImageMark.size());
  }
}

class Labeller {
 public:
  Labeller(const Tokenizer& tokenizer, const LlavaConfig& config,
           std::span<const ImageLayout> images)
      : tokenizer_(tokenizer), config_(config), images_(images) {}

  // BOS and the ids of `text`, nothing supervised.
  LabelledTokens Masked(absl::string_view text) const {
    PromptTokens prompt = Encode(text, /*at_start=*/true, /*first_image=*/0);
    LabelledTokens out;
    if (tokenizer_.adds_bos()) out.ids.push_back(tokenizer_.bos_id());
    const auto begin = static_cast<std::int32_t>(out.ids.size());
    out.ids.insert(out.ids.end(), prompt.ids.begin(), prompt.ids.end());
    out.labels.assign(out.ids.size(), kIgnoreLabel);
    out.image_spans = std::move(prompt.image_spans);
    for (ImageSpan& span : out.image_spans) span.offset += begin;
    return out;
  }

  // preprocess_v1, preprocess_llama_2: rounds end with "</s>", `separator` precedes an answer.
  LabelledTokens Rounds(absl::string_view text, absl::string_view separator) const {
    LabelledTokens out = Masked(text);
    // The reference counts what is not padding, and pads with <unk>.
    const auto total = static_cast<std::size_t>(std::count_if(
        out.ids.begin(), out.ids.end(), [&](int id) { return id != tokenizer_.unk_id(); }));
    const std::size_t begin = tokenizer_.adds_bos() ? 1 : 0;
    std::size_t at = begin;
    int image = 0;  // that stands first in the round
    for (const absl::string_view round : absl::StrSplit(text, kTurnEnd)) {
      if (round.empty()) break;
      const std::vector<absl::string_view> sides = absl::StrSplit(round, separator);
      if (sides.size() != 2) break;
      const bool first = at == begin;
      const std::size_t length = Length(round, first, image) + 1;  // and "</s>"
      // The separator's last space belongs to the answer's first token.
      const std::size_t question = Length(absl::StrCat(sides[0], separator), first, image) - 1;
      for (std::size_t i = at + question; i < std::min(at + length, out.ids.size()); ++i) {
        out.labels[i] = out.ids[i];
      }
      at += length;
      if (!images_.empty()) image += CountMarks(round);
    }
    if (at != total) {
      out.mismatch = true;
      out.labels.assign(out.ids.size(), kIgnoreLabel);
    }
    for (const ImageSpan& span : out.image_spans) {
      std::fill_n(out.labels.begin() + span.offset, span.count, kIgnoreLabel);
    }
    return out;
  }

  // preprocess and _mask_targets: turns from the human's on behind `header`, and `end` behind them.
  // A part is as long as it is alone, its own BOS included, in whose place the whole text has one
  // more token of "###". An image counts as one token there.
  LabelledTokens SignalTurns(const std::string& header, std::span<const std::string> parts,
                             absl::string_view end) const {
    LabelledTokens out = Masked(absl::StrCat(header, absl::StrJoin(parts, ""), end));
    const std::size_t bos = tokenizer_.adds_bos() ? 1 : 0;
    std::vector<bool> is_learned(out.ids.size(), true);
    const auto mask = [&is_learned](std::size_t from, std::size_t to) {
      for (std::size_t i = from; i < std::min(to, is_learned.size()); ++i) is_learned[i] = false;
    };
    std::size_t at = bos + Length(header, true, 0);
    mask(0, at);
    int image = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::size_t length = bos + ShortLength(parts[i], image);
      if (i % 2 == 0) mask(at + 2, at + length);
      at += length;
      if (!images_.empty()) image += CountMarks(parts[i]);
    }
    std::size_t place = 0, span = 0;
    for (std::size_t i = 0; i < out.ids.size(); ++place) {
      const bool is_image = span < out.image_spans.size() &&
                            static_cast<std::size_t>(out.image_spans[span].offset) == i;
      if (!is_image && is_learned[place]) out.labels[i] = out.ids[i];
      i += is_image ? static_cast<std::size_t>(out.image_spans[span++].count) : 1;
    }
    return out;
  }

  // Turns of ChatML, `turns` of them behind `before` others (the system's): each begins with a
  // token of its own, so that the answers are found among the ids.
  absl::StatusOr<LabelledTokens> ChatmlTurns(absl::string_view text, std::size_t before,
                                             std::size_t turns) const {
    const auto start = tokenizer_.IdOf(std::string(kChatmlStart));
    const auto end = tokenizer_.IdOf(std::string(kChatmlEnd));
    if (!start || !end) {
      return absl::InvalidArgumentError(
          "template: chatml needs a tokenizer with <|im_start|> and <|im_end|>, which this one "
          "lacks");
    }
    LabelledTokens out = Masked(text);
    const std::size_t head = Length(absl::StrCat(kChatmlStart, "assistant\n"), false, 0);
    const auto is_start = [&](int id) { return id == *start; };
    const auto starts = std::count_if(out.ids.begin(), out.ids.end(), is_start);
    out.mismatch = static_cast<std::size_t>(starts) != before + turns;
    if (out.mismatch) return out;
    std::size_t turn = 0;
    for (std::size_t i = 0; i < out.ids.size(); ++i) {
      if (out.ids[i] != *start || turn++ < before || (turn - before) % 2 != 0) continue;
      for (std::size_t k = i + head; k < out.ids.size(); ++k) {
        out.labels[k] = out.ids[k];
        if (out.ids[k] == *end) break;
      }
    }
    return out;
  }

  // preprocess_plain: everything after the images is supervised.
  LabelledTokens Caption(absl::string_view marks, absl::string_view caption) const {
    LabelledTokens out = Masked(absl::StrCat(marks, caption, "\n"));
    const auto head =
        static_cast<std::ptrdiff_t>((tokenizer_.adds_bos() ? 1 : 0) + Length(marks, true, 0));
    std::copy(out.ids.begin() + head, out.ids.end(), out.labels.begin() + head);
    return out;
  }

 private:
  PromptTokens Encode(absl::string_view text, bool at_start, int first_image) const {
    return EncodeParts(PartsOf(text, !images_.empty(), first_image), tokenizer_, config_, images_,
                       at_start);
  }

  std::size_t Length(absl::string_view text, bool at_start, int first_image) const {
    return Encode(text, at_start, first_image).ids.size();
  }

  // Every image counted as one token.
  std::size_t ShortLength(absl::string_view text, int first_image) const {
    const PromptTokens prompt = Encode(text, true, first_image);
    std::size_t length = prompt.ids.size();
    for (const ImageSpan& span : prompt.image_spans) {
      length -= static_cast<std::size_t>(span.count) - 1;
    }
    return length;
  }

  const Tokenizer& tokenizer_;
  const LlavaConfig& config_;
  std::span<const ImageLayout> images_;
};

}  // namespace

namespace {

absl::StatusOr<LabelledTokens> Label(std::span<const TrainingTurn> turns,
                                     const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                                     const LlavaConfig& config, std::span<const ImageLayout> images,
                                     const std::string& own_system) {
  const std::string& system = own_system.empty() ? chat_template.default_system() : own_system;
  const int num_images = static_cast<int>(images.size());
  ASSIGN_OR_RETURN(const Family family, FamilyOf(chat_template));
  RETURN_IF_ERROR(CheckTurns(turns, num_images));
  const Labeller labeller(tokenizer, config, images);
  if (family == Family::kPlain) {
    if (turns.size() != 2 || CountMarks(turns[0].text) != num_images || num_images == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("conversations: expected a human's turn with an image and its caption for "
                       "the template plain, found ",
                       turns.size(), " turns and ", num_images, " images"));
    }
    std::string marks;
    for (int i = 0; i < num_images; ++i) absl::StrAppend(&marks, kImageMark);
    return labeller.Caption(marks, turns[1].text);
  }
  std::vector<std::string> texts;
  for (const TrainingTurn& turn : turns) {
    texts.push_back(num_images > 0 ? ImagesFirst(turn.text) : turn.text);
  }
  if (family == Family::kVicuna) {
    return labeller.Rounds(VicunaText(system, texts), " ASSISTANT: ");
  }
  if (family == Family::kV0) {
    for (std::size_t i = 0; i < texts.size(); ++i) {
      texts[i] = absl::StrCat(i % 2 == 0 ? "### Human: " : "### Assistant: ", texts[i], "\n");
    }
    return labeller.SignalTurns(system + "\n\n", texts, "### ");
  }
  if (family == Family::kChatml) {
    return labeller.ChatmlTurns(ChatmlText(system, texts), system.empty() ? 0 : 1, texts.size());
  }
  return labeller.Rounds(
      Llama2Text(system, chat_template.name() == "llava_llama_2" ? "<s>" : "", texts), "[/INST] ");
}

}  // namespace

absl::StatusOr<LabelledTokens> LabelConversation(std::span<const TrainingTurn> turns,
                                                 const ChatTemplate& chat_template,
                                                 const Tokenizer& tokenizer,
                                                 const LlavaConfig& config,
                                                 std::span<const ImageLayout> images,
                                                 const std::string& system) {
  ASSIGN_OR_RETURN(LabelledTokens labelled,
                   Label(turns, chat_template, tokenizer, config, images, system));
  RETURN_IF_ERROR(CheckTokenIds(labelled.ids, tokenizer, config));
  return labelled;
}

}  // namespace llava::model
