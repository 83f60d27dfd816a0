// Token ids, decoded text and rendered prompts against transformers (make_text_golden.py) and
// against the prompts of the model's golden data (manifest.json).
#include <fstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json_reader.h"
#include "boost/json/parse.hpp"
#include "boost/json/value_to.hpp"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/config/config.h"
#include "model/text/chat_template.h"
#include "model/text/prompt.h"
#include "model/text/tokenizer.h"
#include "tests/support/layouts.h"

namespace llava::model {
namespace {

const std::string kData = "tests/golden/data";
const std::string kCheckpoint = kData + "/checkpoint";

std::vector<boost::json::object> Lines() {
  std::ifstream in(kData + "/text/tokens.jsonl");
  std::vector<boost::json::object> lines;
  for (std::string line; std::getline(in, line);) {
    lines.push_back(boost::json::parse(line).as_object());
  }
  EXPECT_FALSE(lines.empty());
  return lines;
}

std::vector<int> Ids(const boost::json::value& value) {
  return boost::json::value_to<std::vector<int>>(value);
}

std::string Text(const boost::json::value& value) { return std::string(value.as_string()); }

Tokenizer Load() {
  auto tokenizer = Tokenizer::Load(kCheckpoint, Layout::kHuggingFace);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return std::move(tokenizer).value();
}

// The same vocabulary with other settings.
Tokenizer With(PrefixRule prefix, bool prefix_before_space) {
  const std::string model = *ReadFile(kCheckpoint + "/tokenizer.model", 1 << 20);
  TokenizerSettings settings = Load().settings();
  settings.prefix = prefix;
  settings.prefix_before_space = prefix_before_space;
  settings.marks_in_normalizer = false;
  return *Tokenizer::FromModel(model, Load().added_tokens(), settings);
}

TEST(TextGoldenTest, EncodesLikeTheReference) {
  struct Rule {
    std::string name;
    Tokenizer tokenizer;
    bool control = true;
  };
  std::vector<Rule> rules;
  rules.push_back({"json", Load()});
  rules.push_back({"literal", Load(), false});
  rules.push_back({"fast", With(PrefixRule::kFirst, false)});
  rules.push_back({"fast_legacy", With(PrefixRule::kAlways, false)});
  rules.push_back({"slow", With(PrefixRule::kFirst, true)});
  rules.push_back({"slow_legacy", With(PrefixRule::kAlways, true)});
  for (const auto& line : Lines()) {
    if (!line.contains("ids")) continue;
    const std::string text = Text(line.at("text"));
    for (const Rule& rule : rules) {
      EXPECT_EQ(rule.tokenizer.Encode(text, rule.control), Ids(line.at("ids").at(rule.name)))
          << rule.name << ": " << line.at("text");
    }
  }
}

TEST(TextGoldenTest, DecodesLikeTheReference) {
  const Tokenizer tokenizer = Load();
  for (const auto& line : Lines()) {
    if (!line.contains("decode")) continue;
    const std::string text = Text(line.at("text"));
    if (text.find("\uFFFD") != std::string::npos) continue;  // there ours keeps what is valid
    EXPECT_EQ(tokenizer.Decode(Ids(line.at("decode"))), text) << line.at("decode");
  }
}

std::vector<ChatMessage> Messages(const boost::json::value& list) {
  std::vector<ChatMessage> messages;
  int image = 0;
  for (const auto& item : list.as_array()) {
    const std::string role = Text(item.at("role"));
    ChatMessage message;
    message.role = role == "system" ? Role::kSystem
                   : role == "user" ? Role::kUser
                                    : Role::kAssistant;
    for (std::int64_t i = 0; i < item.at("images").as_int64(); ++i) {
      message.parts.emplace_back(ImagePart{image++});
    }
    for (const auto& text : item.at("texts").as_array()) message.parts.emplace_back(Text(text));
    messages.push_back(std::move(message));
  }
  return messages;
}

// Whether a message of the assistant or the system is of several texts. The templates of LLaVA-1.6
// take the first of them; ours lose none.
bool HasSeveralTexts(const boost::json::object& line) {
  for (const auto& message : line.at("messages").as_array()) {
    if (message.at("role") != "user" && message.at("texts").as_array().size() > 1) return true;
  }
  return false;
}

TEST(TextGoldenTest, RendersLikeTheChatTemplatesOfCheckpoints) {
  const auto texts = *ReadJsonObject(kData + "/text/chat_templates.json");
  for (const std::string& name : ChatTemplate::Names()) {
    if (name == "chatml") continue;  // chat_template_test has its prompts
    const ChatTemplate chat_template = *ChatTemplate::ByName(name);
    EXPECT_EQ(chat_template.Jinja(), Text(texts.at(name)));  // from which the lines were rendered
    for (const auto& line : Lines()) {
      if (!line.contains("messages")) continue;
      if (name.starts_with("hf_next_") && HasSeveralTexts(line)) continue;
      const auto parts = chat_template.Render(Messages(line.at("messages")));
      ASSERT_TRUE(parts.ok()) << parts.status();
      EXPECT_EQ(PromptText(*parts), Text(line.at(name))) << line.at("messages");
    }
  }
}

// Templates in the manners of many families, executed: the same prompts, and the same refusals.
TEST(TextGoldenTest, ExecutesTemplatesLikeTransformers) {
  std::ifstream file(kData + "/text/executed_templates.jsonl");
  int prompts = 0;
  int refusals = 0;
  for (std::string line; std::getline(file, line);) {
    const boost::json::object item = boost::json::parse(line).as_object();
    TemplateTexts texts;
    texts.special_tokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
    const auto executed = ExecutedTemplate::Make(Text(item.at("template")), texts);
    ASSERT_TRUE(executed.ok()) << executed.status() << line.substr(0, 400);
    for (const auto& one : item.at("cases").as_array()) {
      const auto parts = (*executed)->Render(Messages(one.at("messages")));
      const boost::json::value* refused = one.as_object().if_contains("refused");
      if (refused != nullptr) {
        EXPECT_THAT(std::string(parts.status().message()), testing::HasSubstr(Text(*refused)));
        ++refusals;
        continue;
      }
      ASSERT_TRUE(parts.ok()) << parts.status() << one.at("messages");
      EXPECT_EQ(PromptText(*parts), Text(one.at("prompt"))) << one.at("messages");
      ++prompts;
    }
  }
  EXPECT_GT(prompts, 100);
  EXPECT_GT(refusals, 10);
}

TEST(TextGoldenTest, PromptsOfTheModelsGoldenData) {
  const auto config = ReadConfig(kCheckpoint);
  ASSERT_TRUE(config.ok()) << config.status();
  const Tokenizer tokenizer = Load();
  const auto manifest = ReadJsonObject(kData + "/manifest.json");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  for (const auto& item : manifest->at("cases").as_array()) {
    const std::string text = Text(item.at("prompt"));
    const std::size_t images = item.at("images").as_array().size();
    const auto prompt = BuildRawPrompt(text, tokenizer, *config, Layouts(*config, images));
    ASSERT_TRUE(prompt.ok()) << prompt.status();
    EXPECT_EQ(prompt->ids, Ids(item.at("input_ids"))) << text;
    EXPECT_EQ(prompt->image_spans.size(), images);
    std::vector<int> whole = tokenizer.Encode(text);  // <image> is an added token: one pass
    whole.insert(whole.begin(), tokenizer.bos_id());
    EXPECT_EQ(whole, Ids(item.at("text_ids"))) << text;
  }
}

// The first case of the manifest, written by the checkpoint's own template.
TEST(TextGoldenTest, TheCheckpointsTemplateMakesTheGoldenPrompt) {
  const LlavaConfig config = *ReadConfig(kCheckpoint);
  const auto chat_template = ChatTemplate::ForCheckpoint(kCheckpoint, config);
  ASSERT_TRUE(chat_template.ok()) << chat_template.status();
  EXPECT_EQ(chat_template->name(), "chat_template.json");
  const std::vector<ChatMessage> messages = {
      {Role::kUser, {std::string("What is in the picture?"), ImagePart{0}}}};
  const auto prompt = BuildPrompt(messages, *chat_template, Load(), config, Layouts(config, 1));
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  const auto manifest = *ReadJsonObject(kData + "/manifest.json");
  EXPECT_EQ(prompt->ids, Ids(manifest.at("cases").as_array()[0].at("input_ids")));
  EXPECT_THAT(prompt->image_spans, testing::ElementsAre(ImageSpan{8, 16, 0}));
}

}  // namespace
}  // namespace llava::model
