// Training labels against the reference's rules (make_label_golden.py).
#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "boost/json/parse.hpp"
#include "boost/json/value_to.hpp"
#include "gtest/gtest.h"
#include "model/config/config.h"
#include "model/text/chat_template.h"
#include "model/text/conversation_labels.h"
#include "model/text/tokenizer.h"
#include "tests/support/layouts.h"

namespace llava::model {
namespace {

const std::string kData = "tests/golden/data";
const std::string kCheckpoint = kData + "/checkpoint";

struct Rule {
  std::string name;
  LlavaConfig config;
  Tokenizer tokenizer;
};

Rule Slow(const std::string& name, PrefixRule prefix) {
  LlavaConfig config = *ReadConfig(kCheckpoint);
  config.layout = Layout::kOriginal;
  config.image_token_id = kOriginalImageTokenId;
  const Tokenizer known = *Tokenizer::Load(kCheckpoint, Layout::kOriginal);
  TokenizerSettings settings = known.settings();
  settings.prefix = prefix;
  const std::string model = *ReadFile(kCheckpoint + "/tokenizer.model", 1 << 20);
  return {name, config, *Tokenizer::FromModel(model, known.added_tokens(), settings)};
}

// One id -200 for each image.
std::vector<int> Compact(const LabelledTokens& tokens, const std::vector<int>& values,
                         int image_value) {
  std::vector<int> out;
  std::size_t at = 0;
  for (const ImageSpan& span : tokens.image_spans) {
    const auto offset = static_cast<std::size_t>(span.offset);
    out.insert(out.end(), values.begin() + static_cast<std::ptrdiff_t>(at),
               values.begin() + span.offset);
    out.push_back(image_value);
    at = offset + static_cast<std::size_t>(span.count);
  }
  out.insert(out.end(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return out;
}

void Compare(const boost::json::object& line, const Rule& rule) {
  const auto* expected = line.at("rules").as_object().if_contains(rule.name);
  if (expected == nullptr) return;
  std::vector<TrainingTurn> turns;
  for (const auto& turn : line.at("turns").as_array()) {
    turns.push_back({turns.size() % 2 == 0, std::string(turn.as_string())});
  }
  const auto chat_template = *ChatTemplate::ByName(std::string(line.at("template").as_string()));
  const auto tokens = LabelConversation(
      turns, chat_template, rule.tokenizer, rule.config,
      Layouts(rule.config, static_cast<std::size_t>(line.at("images").as_int64())));
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  const auto ids = boost::json::value_to<std::vector<int>>(expected->at("ids"));
  const auto labels = boost::json::value_to<std::vector<int>>(expected->at("labels"));
  EXPECT_EQ(Compact(*tokens, tokens->ids, -200), ids) << rule.name << " " << line.at("turns");
  EXPECT_EQ(Compact(*tokens, tokens->labels, kIgnoreLabel), labels)
      << rule.name << " " << line.at("template") << line.at("turns");
  const bool masked =
      std::all_of(labels.begin(), labels.end(), [](int label) { return label == kIgnoreLabel; });
  EXPECT_EQ(tokens->mismatch, masked) << line.at("turns");
}

TEST(LabelGoldenTest, LabelsEqualTheReference) {
  std::vector<Rule> rules;
  rules.push_back(Slow("slow", PrefixRule::kFirst));
  rules.push_back(Slow("slow_legacy", PrefixRule::kAlways));
  rules.push_back(
      {"json", *ReadConfig(kCheckpoint), *Tokenizer::Load(kCheckpoint, Layout::kHuggingFace)});
  std::ifstream in(kData + "/text/labels.jsonl");
  int lines = 0;
  for (std::string line; std::getline(in, line); ++lines) {
    for (const Rule& rule : rules) Compare(boost::json::parse(line).as_object(), rule);
  }
  EXPECT_GT(lines, 0);
}

}  // namespace
}  // namespace llava::model
