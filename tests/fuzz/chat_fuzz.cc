// Any text in a conversation, with every template: the prompt's ids are in the vocabulary, what a
// user types never becomes a control token, and pieces of the answer add up to the whole.
// Input: a byte that chooses the template, then messages that end with a line feed and a user's or
// an assistant's turn in alternation; the byte 1 stands for an image.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/utf8_stream.h"
#include "model/text/chat_template.h"
#include "model/text/detokenizer.h"
#include "model/text/prompt.h"
#include "model/text/tokenizer.h"
#include "tests/support/layouts.h"

namespace llava::model {
namespace {

struct Reference {
  LlavaConfig config;
  Tokenizer tokenizer;
};

const Reference& TinyCheckpoint() {
  static const auto* reference = [] {
    const std::string dir = "tests/golden/data/checkpoint";
    auto config = ReadConfig(dir);
    LLAVA_CHECK(config.ok());
    auto tokenizer = Tokenizer::Load(dir, config->layout);
    LLAVA_CHECK(tokenizer.ok());
    return new Reference{*std::move(config), *std::move(tokenizer)};
  }();
  return *reference;
}

std::vector<ChatMessage> ReadMessages(std::string_view text, int& images) {
  std::vector<ChatMessage> messages;
  const std::vector<std::string> turns = absl::StrSplit(AbslView(text), '\n');
  for (const std::string& turn : turns) {
    ChatMessage message;
    message.role = messages.size() % 2 == 0 ? Role::kUser : Role::kAssistant;
    const std::vector<std::string> texts = absl::StrSplit(turn, '\1');
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (i > 0) message.parts.emplace_back(ImagePart{images++});
      if (!texts[i].empty()) message.parts.emplace_back(texts[i]);
    }
    messages.push_back(std::move(message));
  }
  return messages;
}

void CheckDecoding(const Tokenizer& tokenizer, const std::vector<int>& ids) {
  Detokenizer detokenizer(tokenizer);
  std::string pieces;
  for (const int id : ids) pieces += detokenizer.Push(id);
  LLAVA_CHECK(pieces + detokenizer.Finish() == tokenizer.Decode(ids));
}

void CheckText(const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<int> ids = tokenizer.Encode(text, /*control=*/false);
  for (const int id : ids) {
    LLAVA_CHECK(id != tokenizer.bos_id() && id != tokenizer.eos_id());
    for (const AddedToken& added : tokenizer.added_tokens()) {
      LLAVA_CHECK(!added.special || id != added.id);
    }
  }
  CheckDecoding(tokenizer, ids);
  CheckDecoding(tokenizer, tokenizer.Encode(text, /*control=*/true));
}

void CheckPrompt(const Reference& reference, const PromptTokens& prompt) {
  std::size_t next = 0;
  for (const ImageSpan& span : prompt.image_spans) {
    LLAVA_CHECK_EQ(span.count, reference.config.tile_tokens());
    LLAVA_CHECK(static_cast<std::size_t>(span.offset) >= next);
    next = static_cast<std::size_t>(span.offset + span.count);
  }
  LLAVA_CHECK_LE(next, prompt.ids.size());
  for (const int id : prompt.ids) LLAVA_CHECK(id >= 0 && id < reference.tokenizer.vocab_size());
}

}  // namespace
}  // namespace llava::model

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace model = llava::model;
  if (size == 0) return 0;
  const model::Reference& reference = model::TinyCheckpoint();
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  model::CheckText(reference.tokenizer, text);
  const auto names = model::ChatTemplate::Names();
  const auto chat_template = model::ChatTemplate::ByName(names[data[0] % names.size()]);
  LLAVA_CHECK(chat_template.ok());
  int images = 0;
  const auto messages = model::ReadMessages(text, images);
  const auto layouts = model::Layouts(reference.config, static_cast<std::size_t>(images));
  const auto prompt =
      model::BuildPrompt(messages, *chat_template, reference.tokenizer, reference.config, layouts);
  if (prompt.ok()) {
    LLAVA_CHECK_EQ(prompt->image_spans.size(), static_cast<std::size_t>(images));
    model::CheckPrompt(reference, *prompt);
  }
  const auto raw = model::BuildRawPrompt(text, reference.tokenizer, reference.config, layouts);
  if (raw.ok()) model::CheckPrompt(reference, *raw);
  return 0;
}
