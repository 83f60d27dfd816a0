#include "model/grammar/format_grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace llava::model {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Kind = AnswerFormat::Kind;

std::string Grammar(const AnswerFormat& format) {
  const auto grammar = GrammarOf(format);
  if (!grammar.ok()) return std::string(grammar.status().message());
  return std::string(grammar->kind) + " " + grammar->text;
}

TEST(FormatGrammar, JsonHasNoWhiteSpaceButOneBlank) {
  EXPECT_EQ(Grammar({.kind = Kind::kJsonObject}),
            R"(json_schema {"type":"object","x-guidance":{"whitespace_flexible":false,)"
            R"("item_separator":", ?","key_separator":": ?"}})");
  EXPECT_THAT(Grammar({.kind = Kind::kJsonSchema, .text = "true"}),
              StartsWith(R"(json_schema {"x-guidance")"));
  EXPECT_THAT(Grammar({.kind = Kind::kJsonSchema, .text = "false"}),
              HasSubstr("describes no answer"));
}

TEST(FormatGrammar, ChoicesAreTheirOwnCharacters) {
  EXPECT_EQ(Grammar({.kind = Kind::kChoice, .choices = {"yes", "a.b\n", "ü|"}}),
            "regex yes|a\\.b\\x0a|ü\\|");
  EXPECT_THAT(Grammar({.kind = Kind::kChoice}), HasSubstr("has 0 texts, expected 1 to 1024"));
  EXPECT_THAT(Grammar({.kind = Kind::kChoice, .choices = {""}}), HasSubstr("is empty"));
  EXPECT_THAT(Grammar({.kind = Kind::kChoice, .choices = std::vector<std::string>(1025, "a")}),
              HasSubstr("has 1025 texts"));
}

TEST(FormatGrammar, CallsNameTheirFunctionFirstAndKeepTheirReferences) {
  AnswerFormat calls{.kind = Kind::kCalls, .max_calls = 3};
  calls.functions = {{"f", "",
                      R"({"$defs": {"x": {"type": "null"}}, "properties": )"
                      R"({"a": {"$ref": "#/$defs/x"}, "b": {"$ref": "#"}}})"},
                     {"g", "", R"({"type": "object"})"}};
  const std::string grammar = Grammar(calls);
  EXPECT_THAT(grammar, HasSubstr(R"("f":{"$defs":{"x":{"type":"null"}},"properties":)"
                                 R"({"a":{"$ref":"#/$defs/f/$defs/x"},"b":{"$ref":"#/$defs/f"}},)"
                                 R"("type":"object"})"));
  EXPECT_THAT(grammar, HasSubstr(R"("minItems":1,"maxItems":3)"));
  EXPECT_THAT(grammar, HasSubstr(R"("properties":{"name":{"const":"g"},"arguments":)"
                                 R"({"$ref":"#/$defs/g"}},"required":["name","arguments"])"));
}

TEST(FormatGrammar, ParametersOfAFunctionAreAnObject) {
  AnswerFormat calls{.kind = Kind::kCalls};
  const auto grammar = [&](const std::string& parameters) {
    calls.functions = {{"f", "", parameters}};
    return Grammar(calls);
  };
  EXPECT_THAT(grammar(R"({"type": "string"})"), HasSubstr("#/$defs/f/type: expected \"object\""));
  EXPECT_THAT(grammar("true"), HasSubstr("#/$defs/f: expected a schema of an object"));
  EXPECT_THAT(grammar(R"({"properties": {"a": {"not": {}}}})"),
              HasSubstr("#/$defs/f/properties/a/not: the keyword is not supported"));
  EXPECT_THAT(grammar(std::string(70'000, ' ')), HasSubstr("bytes of parameters"));
}

TEST(FormatGrammar, IsBounded) {
  EXPECT_THAT(Grammar({.kind = Kind::kRegex, .text = std::string(kMaxFormatBytes + 1, 'a')}),
              HasSubstr("has 65537 bytes, expected at most 65536"));
  EXPECT_THAT(Grammar({.kind = Kind::kRegex, .text = std::string(kMaxFormatNesting + 1, '(')}),
              HasSubstr("nested deeper than 48"));
  EXPECT_THAT(Grammar({.kind = Kind::kGrammar, .text = std::string(kMaxGrammarLines, '\n')}),
              HasSubstr("has more than 512 lines"));
  EXPECT_THAT(Grammar({.kind = Kind::kRegex}), HasSubstr("is empty"));
  EXPECT_THAT(Grammar({.kind = Kind::kRegex, .text = "\xff"}), HasSubstr("is not UTF-8"));
  EXPECT_THAT(Grammar({.kind = Kind::kRegex, .text = std::string("a\0b", 3)}), HasSubstr("NUL"));
}

TEST(FormatGrammar, ExpressionsThatHoldTogetherAreBounded) {
  const auto grammar = [](const std::string& text) {
    return Grammar({.kind = Kind::kGrammar, .text = text});
  };
  EXPECT_THAT(grammar("start: A\nA: /[a-z]+/ & ~/.*(x|y).*/"), StartsWith("lark "));
  std::string many = "start: A\nA: /.*a.*/";
  for (int i = 0; i < 20; ++i) many += " & /.*(b|c).*/";
  EXPECT_THAT(grammar(many), HasSubstr("has 20 of \"&\" and \"~\", and "));
  // In strings, regular expressions and comments they are characters, and "~" repeats, too.
  std::string none = "start: \"&~|\\\"&\" /&|~\\/&/ // & ~\nA: \"a\"~3 \"b\" ~ 2..9";
  for (int i = 0; i < 100; ++i) none += "\n| \"&\"";
  EXPECT_THAT(grammar(none), StartsWith("lark "));
}

TEST(FormatGrammar, GrammarsAreLarkWithoutDirectives) {
  EXPECT_EQ(Grammar({.kind = Kind::kGrammar, .text = "start: \"a\""}), "lark start: \"a\"");
  EXPECT_THAT(Grammar({.kind = Kind::kGrammar, .text = "root ::= \"a\""}),
              HasSubstr("has \"::=\", expected Lark syntax"));
  EXPECT_THAT(Grammar({.kind = Kind::kGrammar, .text = "start: %json {\"not\":{}}"}),
              HasSubstr("has \"%json\""));
  EXPECT_THAT(Grammar({.kind = Kind::kGrammar, .text = "start: <[3]>"}), HasSubstr("has \"<[\""));
}

std::string Times(int count, const std::string& text) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

TEST(FormatGrammar, RepetitionsBehindOneAnotherAreBounded) {
  EXPECT_EQ(Grammar({.kind = Kind::kRegex, .text = Times(1000, ".*")}),
            "regex " + Times(1000, ".*"));
  EXPECT_EQ(Grammar({.kind = Kind::kRegex, .text = Times(1001, "[^a-z]*")}),
            "has 1001 repetitions (*, +, ? and {), expected at most 1000");
  EXPECT_THAT(Grammar({.kind = Kind::kGrammar, .text = "start: /" + Times(1001, "a?") + "/"}),
              HasSubstr("has 1001 repetitions"));
  EXPECT_THAT(Grammar({.kind = Kind::kChoice, .choices = {Times(2000, "*")}}), HasSubstr("regex "));
}

TEST(FormatGrammar, CountsOfRepetitionsMultiplyInWhatHoldsTogether) {
  EXPECT_THAT(Grammar({.kind = Kind::kGrammar,
                       .text = "start: A\nA: /(.*a.{20})/ & /(.*b.{19})/ & ~/(.*c.{9})/"}),
              HasSubstr("ways to go on, expected at most 1e+06"));
  EXPECT_EQ(Grammar({.kind = Kind::kGrammar, .text = "start: A\nA: /.{20}/ & /a.{4,19}/"}),
            "lark start: A\nA: /.{20}/ & /a.{4,19}/");
}

TEST(FormatGrammar, CostsOfAllFunctionsAddUp) {
  AnswerFormat calls{.kind = Kind::kCalls};
  calls.functions = {{"f", "", R"({"properties": {"a": {"multipleOf": 86399}}})"}};
  EXPECT_THAT(Grammar(calls), StartsWith("json_schema "));
  calls.functions.push_back({"g", "", R"({"properties": {"a": {"multipleOf": 86389}}})"});
  EXPECT_THAT(Grammar(calls), StartsWith("#/$defs/g/properties/a: the different multiples"));
}

}  // namespace
}  // namespace llava::model
