#include "model/grammar/grammar_compiler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/rng.h"
#include "model/text/detokenizer.h"

namespace llava::model {
namespace {

using ::testing::HasSubstr;
using Kind = AnswerFormat::Kind;

constexpr char kCheckpoint[] = "tests/golden/data/checkpoint";
constexpr int kPadding = 3;  // rows of the logits beyond the tokenizer

class GrammarCompilerTest : public ::testing::Test {
 protected:
  GrammarCompilerTest()
      : tokenizer_(*Tokenizer::Load(kCheckpoint, Layout::kHuggingFace)),
        compiler_(*GrammarCompiler::Create(tokenizer_, std::vector{tokenizer_.eos_id()},
                                           tokenizer_.vocab_size() + kPadding)) {}

  static bool Allows(ConstrainedAnswer& answer, int token) {
    const auto allowed = answer.Allowed();
    EXPECT_TRUE(allowed.ok()) << allowed.status();
    const auto word = static_cast<std::size_t>(token) / 32;
    return allowed.ok() && word < allowed->size() && ((*allowed)[word] >> (token % 32) & 1) != 0;
  }

  // Whether `text`, in the tokenizer's own tokens, is a whole answer.
  bool Takes(const AnswerFormat& format, const std::string& text) {
    const auto constraint = compiler_->Compile(format);
    EXPECT_TRUE(constraint.ok()) << constraint.status();
    if (!constraint.ok()) return false;
    const auto answer = (*constraint)->Begin();
    for (const int id : tokenizer_.Encode(text, /*control=*/false)) {
      if (!Allows(*answer, id)) return false;
      EXPECT_TRUE(answer->Append(id).ok());
    }
    return Allows(*answer, tokenizer_.eos_id());
  }

  std::string Error(const AnswerFormat& format) {
    return std::string(compiler_->Compile(format).status().message());
  }

  const Tokenizer tokenizer_;
  const std::unique_ptr<GrammarCompiler> compiler_;
};

TEST_F(GrammarCompilerTest, JsonObject) {
  const AnswerFormat object{.kind = Kind::kJsonObject};
  EXPECT_TRUE(Takes(object, R"({"a": [1, -2.5e3, null, "ä\n€😀"], "b":{}})"));
  EXPECT_FALSE(Takes(object, R"([1])"));
  EXPECT_FALSE(Takes(object, R"({"a":1)"));
  EXPECT_FALSE(Takes(object, R"({"a":1}})"));
  EXPECT_FALSE(Takes(object, "{ }"));
}

TEST_F(GrammarCompilerTest, JsonSchema) {
  const AnswerFormat schema{
      .kind = Kind::kJsonSchema,
      .text = R"({"type":"object","properties":{"n":{"type":"integer","minimum":3},)"
              R"("next":{"anyOf":[{"type":"null"},{"$ref":"#"}]}},"required":["n","next"],)"
              R"("additionalProperties":false})"};
  EXPECT_TRUE(Takes(schema, R"({"n":3,"next":null})"));
  EXPECT_TRUE(Takes(schema, R"({"n": 17, "next": {"n": 4, "next": null}})"));
  EXPECT_FALSE(Takes(schema, R"({"n":2,"next":null})"));
  EXPECT_FALSE(Takes(schema, R"({"n":3})"));
  EXPECT_FALSE(Takes(schema, R"({"n":3,"next":null,"x":1})"));
}

TEST_F(GrammarCompilerTest, RegexChoiceAndGrammar) {
  EXPECT_TRUE(Takes({.kind = Kind::kRegex, .text = "[0-9]{3}-x+"}, "123-xx"));
  EXPECT_FALSE(Takes({.kind = Kind::kRegex, .text = "[0-9]{3}-x+"}, "12-x"));
  const AnswerFormat choice{.kind = Kind::kChoice, .choices = {"yes", "yes.", "nö"}};
  for (const std::string text : {"yes", "yes.", "nö"}) EXPECT_TRUE(Takes(choice, text)) << text;
  for (const std::string text : {"ye", "yesx", "no", ""}) EXPECT_FALSE(Takes(choice, text)) << text;
  const AnswerFormat grammar{
      .kind = Kind::kGrammar,
      .text = "start: sum\nsum: n | sum \"+\" n\nn: /[0-9]+/ | \"(\" sum \")\""};
  EXPECT_TRUE(Takes(grammar, "1+(22+3)"));
  EXPECT_FALSE(Takes(grammar, "1+(22+3"));
}

// The tokenizer's first token has a blank that is not part of the text.
TEST_F(GrammarCompilerTest, TheFirstTokenStandsForWhatTheTextShows) {
  const AnswerFormat format{.kind = Kind::kRegex, .text = "a\\{?"};
  const auto answer = (*compiler_->Compile(format))->Begin();
  for (int id = 0; id < tokenizer_.vocab_size(); ++id) {
    Detokenizer detokenizer(tokenizer_);
    std::string text = detokenizer.Push(id);
    text += detokenizer.Finish();
    const bool is_blank = text.empty() && tokenizer_.PieceOf(id).text == " ";
    EXPECT_EQ(Allows(*answer, id), text == "a" || text == "a{" || is_blank)
        << tokenizer_.TokenText(id);
  }
  const int mark = *tokenizer_.IdOf("▁");
  ASSERT_TRUE(answer->Append(mark).ok());
  EXPECT_TRUE(Allows(*answer, *tokenizer_.IdOf("a")));
  EXPECT_FALSE(Allows(*answer, mark));
  EXPECT_FALSE(Allows(*answer, tokenizer_.eos_id()));
  // Which is so only at the start.
  const auto blank = (*compiler_->Compile({.kind = Kind::kChoice, .choices = {"a a"}}))->Begin();
  ASSERT_TRUE(blank->Append(*tokenizer_.IdOf("▁a")).ok());
  EXPECT_TRUE(Allows(*blank, *tokenizer_.IdOf("▁a")));
  EXPECT_FALSE(Allows(*blank, *tokenizer_.IdOf("a")));
}

TEST_F(GrammarCompilerTest, NoSpecialTokensAndNoRowsBeyondTheTokenizer) {
  const auto answer = (*compiler_->Compile({.kind = Kind::kRegex, .text = "(?s:.*)"}))->Begin();
  EXPECT_TRUE(Allows(*answer, tokenizer_.eos_id()));
  EXPECT_FALSE(Allows(*answer, tokenizer_.bos_id()));
  for (const AddedToken& added : tokenizer_.added_tokens()) {
    const bool may_come = !added.special || added.id == tokenizer_.eos_id();
    EXPECT_TRUE(may_come || !Allows(*answer, added.id)) << added.content;
  }
  for (int i = 0; i < 64; ++i) EXPECT_FALSE(Allows(*answer, tokenizer_.vocab_size() + i));
}

TEST_F(GrammarCompilerTest, AnswersOfOneFormGoOnByThemselves) {
  const auto constraint = *compiler_->Compile({.kind = Kind::kChoice, .choices = {"ab", "ba"}});
  const int a = *tokenizer_.IdOf("a");
  const int b = *tokenizer_.IdOf("b");
  for (int round = 0; round < 3; ++round) {  // with engines of answers that have ended, too
    const auto first = constraint->Begin();
    const auto second = constraint->Begin();
    ASSERT_TRUE(first->Append(a).ok());
    ASSERT_TRUE(second->Append(b).ok());
    EXPECT_TRUE(Allows(*first, b));
    EXPECT_FALSE(Allows(*first, a));
    EXPECT_TRUE(Allows(*second, a));
    EXPECT_EQ(first->Append(a).code(), absl::StatusCode::kInvalidArgument);
  }
}

// Along random allowed tokens, answer after answer, with engines that were used before.
TEST_F(GrammarCompilerTest, WhatIsAllowedCanBeAppended) {
  const auto constraint = *compiler_->Compile(
      {.kind = Kind::kJsonSchema,
       .text = R"({"type":"object","properties":{"$ref":{"type":"null"},)"
               R"("a":{"type":"integer","minimum":39,"maximum":48}},"required":["$ref","a"],)"
               R"("additionalProperties":false})"});
  Rng rng(1);
  for (int round = 0; round < 200; ++round) {
    const auto answer = constraint->Begin();
    for (int token = -1; token != tokenizer_.eos_id();) {
      std::vector<int> choices;
      for (int id = 0; id < tokenizer_.vocab_size(); ++id) {
        if (Allows(*answer, id)) choices.push_back(id);
      }
      ASSERT_FALSE(choices.empty());
      token = choices[rng.Below(choices.size())];
      if (token == tokenizer_.eos_id()) break;
      ASSERT_TRUE(answer->Append(token).ok());
      if (rng.Chance(0.1)) break;  // the client has gone
    }
  }
}

TEST_F(GrammarCompilerTest, KeepsTheFormsUsedLast) {
  const AnswerFormat format{.kind = Kind::kRegex, .text = "a+"};
  const auto first = *compiler_->Compile(format);
  for (std::size_t i = 0; i + 1 < kCachedFormats; ++i) {
    ASSERT_TRUE(compiler_->Compile({.kind = Kind::kRegex, .text = std::string(i + 2, 'b')}).ok());
  }
  EXPECT_EQ(*compiler_->Compile(format), first);
  for (std::size_t i = 0; i < kCachedFormats; ++i) {
    ASSERT_TRUE(compiler_->Compile({.kind = Kind::kRegex, .text = std::string(i + 2, 'c')}).ok());
  }
  EXPECT_NE(*compiler_->Compile(format), first);
}

TEST_F(GrammarCompilerTest, WhatNobodyWaitsForAnyMoreIsNotPrepared) {
  const AnswerFormat format{.kind = Kind::kRegex, .text = "a+b"};
  int asked = 0;
  const auto gone = [&asked] {
    ++asked;
    return absl::CancelledError("the client has gone");
  };
  EXPECT_TRUE(absl::IsCancelled(compiler_->Compile(format, gone).status()));
  EXPECT_EQ(asked, 1);
  // Which says nothing of the form.
  EXPECT_TRUE(compiler_->Compile(format, [] { return absl::OkStatus(); }).ok());
  EXPECT_TRUE(compiler_->Compile(format, gone).ok()) << "it is there by then";
}

TEST_F(GrammarCompilerTest, AFormThatIsRefusedIsNotLookedAtAgain) {
  const AnswerFormat format{.kind = Kind::kRegex, .text = "a("};
  int asked = 0;
  const auto alive = [&asked] {
    ++asked;
    return absl::OkStatus();
  };
  const absl::Status first = compiler_->Compile(format, alive).status();
  EXPECT_TRUE(absl::IsInvalidArgument(first));
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(compiler_->Compile(format, alive).status(), first);
  EXPECT_EQ(asked, 1);
}

TEST_F(GrammarCompilerTest, SaysWhatIsWrong) {
  EXPECT_THAT(Error({.kind = Kind::kRegex, .text = "a("}), HasSubstr("regex"));
  EXPECT_THAT(Error({.kind = Kind::kGrammar, .text = "start: other"}), HasSubstr("other"));
  EXPECT_THAT(Error({.kind = Kind::kJsonSchema, .text = R"({"type":"strung"})"}),
              HasSubstr("strung"));
}

TEST_F(GrammarCompilerTest, FormsOfNoTextAreSaidToBeSuch) {
  for (const AnswerFormat& format :
       {AnswerFormat{.kind = Kind::kJsonSchema, .text = R"({"$ref":"#"})"},
        AnswerFormat{.kind = Kind::kRegex, .text = R"([^\s\S])"},
        AnswerFormat{.kind = Kind::kGrammar, .text = "start: start"},
        AnswerFormat{.kind = Kind::kGrammar, .text = "start: A\nA: /a/ & /b/"}}) {
    EXPECT_EQ(Error(format), "no text has this form") << format.text;
  }
}

// Each of these is small, and asks for a great deal.
TEST_F(GrammarCompilerTest, HostileFormsEnd) {
  std::string doubled = "{\"$defs\":{\"d0\":{\"type\":\"string\"}";
  std::string products = "{\"allOf\":[";
  std::string rules = "start: r0\n";
  for (int i = 1; i < 40; ++i) {
    const std::string ref = "{\"$ref\":\"#/$defs/d" + std::to_string(i - 1) + "\"}";
    doubled += ",\"d" + std::to_string(i) + "\":{\"allOf\":[" + ref + "," + ref + "]}";
    products += "{\"anyOf\":[{\"minimum\":" + std::to_string(i) + "},{\"maxLength\":3}]},";
  }
  for (int i = 0; i < 500; ++i) {
    rules += "r" + std::to_string(i) + ": r" + std::to_string(i + 1) + "\n";
  }
  const std::vector<AnswerFormat> formats = {
      {.kind = Kind::kRegex, .text = "(((a{1,1000}){1,1000}){1,1000}){1,1000}"},
      {.kind = Kind::kRegex, .text = "(.*a.*b.*){200}|(a|b)*a(a|b){60}"},
      {.kind = Kind::kRegex, .text = "(\\p{L}{1,500}\\p{N}){1,500}"},
      {.kind = Kind::kJsonSchema, .text = R"({"type":"array","minItems":1000000000})"},
      {.kind = Kind::kJsonSchema, .text = R"({"type":"string","minLength":1000000000})"},
      {.kind = Kind::kJsonSchema, .text = R"({"type":"string","pattern":"(a|b)*a(a|b){30}"})"},
      {.kind = Kind::kJsonSchema, .text = R"({"$ref":"#"})"},
      {.kind = Kind::kJsonSchema, .text = R"({"allOf":[{"$ref":"#"},{"$ref":"#"}]})"},
      {.kind = Kind::kJsonSchema,
       .text = R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})"},
      {.kind = Kind::kJsonSchema, .text = doubled + "},\"$ref\":\"#/$defs/d39\"}"},
      {.kind = Kind::kJsonSchema, .text = products + "{}]}"},
      {.kind = Kind::kGrammar, .text = rules + "r500: \"a\""},
      {.kind = Kind::kGrammar, .text = "start: start start | start | \"a\" | \"\""},
      {.kind = Kind::kGrammar, .text = "start: " + std::string(20'000, 'a') + "*"}};
  for (const AnswerFormat& format : formats) {
    SCOPED_TRACE(format.text.substr(0, 80));
    const auto constraint = compiler_->Compile(format);
    if (!constraint.ok()) {
      EXPECT_TRUE(absl::IsInvalidArgument(constraint.status())) << constraint.status();
      EXPECT_LE(constraint.status().message().size(), 1024u);
      continue;
    }
    const auto answer = (*constraint)->Begin();
    const int a = *tokenizer_.IdOf("a");
    for (int i = 0; i < 50 && answer->Allowed().ok(); ++i) {
      if (!answer->Append(a).ok()) break;
    }
  }
}

TEST_F(GrammarCompilerTest, MultiplesOfADayInSecondsAndOfAMillion) {
  const AnswerFormat day{.kind = Kind::kJsonSchema,
                         .text = R"({"type":"integer","multipleOf":86400})"};
  EXPECT_TRUE(Takes(day, "172800"));
  EXPECT_FALSE(Takes(day, "172801"));
  const AnswerFormat million{.kind = Kind::kJsonSchema,
                             .text = R"({"type":"integer","multipleOf":1000000})"};
  EXPECT_TRUE(Takes(million, "3000000"));
  EXPECT_FALSE(Takes(million, "300000"));
  const AnswerFormat millionth{.kind = Kind::kJsonSchema,
                               .text = R"({"type":"number","multipleOf":1e-6})"};
  EXPECT_TRUE(Takes(millionth, "1.000002"));
  EXPECT_FALSE(Takes(millionth, "1.0000021"));
}

TEST_F(GrammarCompilerTest, ExpressionsThatLookAroundAreNamed) {
  EXPECT_EQ(Error({.kind = Kind::kRegex, .text = R"(a\b)"}),
            R"(\b, \B, and ^ and $ within an expression are not supported, found /a\b/)");
  EXPECT_THAT(Error({.kind = Kind::kJsonSchema, .text = R"({"type":"string","pattern":"a^b"})"}),
              HasSubstr("found /a^b/"));
  EXPECT_EQ(Error({.kind = Kind::kRegex, .text = "^a$"}), "");
}

TEST_F(GrammarCompilerTest, OneOfWhoseSchemasOverlapIsNamed) {
  EXPECT_THAT(Error({.kind = Kind::kJsonSchema,
                     .text = R"({"oneOf":[{"type":"integer"},{"type":"number"}]})"}),
              HasSubstr("oneOf: one value could satisfy several of its schemas, expected schemas"));
}

}  // namespace
}  // namespace llava::model
