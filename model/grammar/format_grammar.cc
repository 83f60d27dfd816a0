#include "model/grammar/format_grammar.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "model/grammar/json_schema.h"
#include "model/grammar/schema_costs.h"

namespace llava::model {
namespace {

namespace json = boost::json;

// Of those texts that the engine reads by recursion. Brackets in strings count too.
absl::Status CheckNesting(const std::string& text) {
  int depth = 0;
  for (const char c : text) {
    if (c == '(' || c == '[' || c == '{') ++depth;
    if (c == ')' || c == ']' || c == '}') --depth;
    if (depth > kMaxFormatNesting) {
      return absl::InvalidArgumentError(
          absl::StrCat("has brackets nested deeper than ", kMaxFormatNesting));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRepetitions(const std::string& text) {
  const double count = RepetitionsIn(text);
  if (count <= kMaxRepetitions) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "has ", count, " repetitions (*, +, ? and {), expected at most ", kMaxRepetitions));
}

absl::Status CheckText(const std::string& text) {
  if (text.size() > kMaxFormatBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", text.size(), " bytes, expected at most ", kMaxFormatBytes));
  }
  if (text.empty()) return absl::InvalidArgumentError("is empty");
  if (!IsValidUtf8(text)) return absl::InvalidArgumentError("is not UTF-8");
  if (absl::StrContains(text, '\0')) return absl::InvalidArgumentError("has a NUL character");
  return absl::OkStatus();
}

// A schema whose answers have no white space but a blank after commas and colons: a model that
// does not know how to go on could otherwise write white space for ever.
absl::StatusOr<FormatGrammar> FromSchema(json::value schema) {
  if (schema.is_bool()) {
    if (!schema.as_bool()) return absl::InvalidArgumentError("#: false describes no answer");
    schema.emplace_object();
  }
  schema.as_object()["x-guidance"] = {
      {"whitespace_flexible", false}, {"item_separator", ", ?"}, {"key_separator", ": ?"}};
  return FormatGrammar{"json_schema", json::serialize(schema)};
}

// What matches `text` alone.
void AppendLiteral(const std::string& text, std::string* regex) {
  for (const char c : text) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) {
      absl::StrAppend(regex, "\\x", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
      continue;
    }
    // "\<" and "\>" are the ends of a word.
    if (absl::ascii_ispunct(static_cast<unsigned char>(c)) && c != '<' && c != '>') {
      regex->push_back('\\');
    }
    regex->push_back(c);
  }
}

absl::StatusOr<FormatGrammar> FromChoices(const std::vector<std::string>& choices) {
  if (choices.empty() || choices.size() > kMaxFormatChoices) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", choices.size(), " texts, expected 1 to ", kMaxFormatChoices));
  }
  std::string regex;
  for (const std::string& choice : choices) {
    RETURN_IF_ERROR(CheckText(choice));
    if (!regex.empty()) regex.push_back('|');
    AppendLiteral(choice, &regex);
    if (regex.size() > 4 * kMaxFormatBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("has more than ", kMaxFormatBytes, " bytes of text"));
    }
  }
  return FormatGrammar{"regex", std::move(regex)};
}

// The schema of a function's arguments, an object whether or not it says so.
absl::StatusOr<json::value> ArgumentsOf(const ToolFunction& function, const std::string& root,
                                        SchemaTotals* totals) {
  RETURN_IF_ERROR(CheckText(function.parameters));
  ASSIGN_OR_RETURN(json::value schema, CheckedJsonSchema(function.parameters, root, totals));
  json::object* object = schema.if_object();
  if (object == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(root, ": expected a schema of an object"));
  }
  const json::value* type = object->if_contains("type");
  if (type == nullptr && !object->contains("$ref")) (*object)["type"] = "object";
  if (type != nullptr && *type != json::value("object")) {
    return absl::InvalidArgumentError(absl::StrCat(root, "/type: expected \"object\""));
  }
  return schema;
}

// A list of 1 to max_calls calls. The name comes first, so that arguments can be passed on as they
// are written.
absl::StatusOr<FormatGrammar> FromCalls(const AnswerFormat& format) {
  json::array calls;
  json::object arguments;
  SchemaTotals totals;
  std::size_t bytes = 0;
  for (const ToolFunction& function : format.functions) {
    bytes += function.parameters.size();
    if (bytes > kMaxFormatBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("has more than ", kMaxFormatBytes, " bytes of parameters"));
    }
    const std::string root = absl::StrCat("#/$defs/", function.name);
    ASSIGN_OR_RETURN(arguments[function.name], ArgumentsOf(function, root, &totals));
    calls.push_back(
        {{"type", "object"},
         {"properties", {{"name", {{"const", function.name}}}, {"arguments", {{"$ref", root}}}}},
         {"required", {"name", "arguments"}},
         {"additionalProperties", false}});
  }
  return FromSchema({{"$defs", std::move(arguments)},
                     {"type", "array"},
                     {"minItems", 1},
                     {"maxItems", format.max_calls},
                     {"items", {{"anyOf", std::move(calls)}}}});
}

// What stands outside of strings, regular expressions and comments.
// Each text that is repeated "{20}" times is as many ways.
struct Operators {
  int both = 0;     // "&" and "~" of expressions; not the "~" before a number, which repeats
  double ways = 1;  // repetitions and alternatives, those of regular expressions too
};

// Of the numbers from `at` on, up to "}", the largest.
double LargestCount(absl::string_view text, std::size_t at) {
  double largest = 0;
  double count = 0;
  for (; at < text.size() && text[at] != '}'; ++at) {
    const bool is_digit = absl::ascii_isdigit(static_cast<unsigned char>(text[at]));
    count = is_digit ? count * 10 + (text[at] - '0') : 0;
    largest = std::max(largest, count);
  }
  return largest;
}

Operators CountOperators(absl::string_view text) {
  Operators found;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool is_comment = c == '/' && i + 1 < text.size() && text[i + 1] == '/';
    if (is_comment) {
      i = std::min(text.find('\n', i), text.size());
      continue;
    }
    if (c == '"' || c == '/') {
      for (++i; i < text.size() && text[i] != c && text[i] != '\n'; ++i) {
        if (text[i] == '\\') ++i;
        if (c != '/' || i >= text.size()) continue;
        found.ways += absl::StrContains("|*+?{", text[i]);
        if (text[i] == '{') found.ways += LargestCount(text, i + 1);
      }
      continue;
    }
    found.ways += absl::StrContains("|*+?{[", c);
    const std::size_t next = text.find_first_not_of(" \t", i + 1);
    const bool repeats = next < text.size() && absl::ascii_isdigit(text[next]);
    found.both += c == '&' || (c == '~' && !repeats);
  }
  return found;
}

// What has to match several expressions at once has as many ways to go on as theirs multiplied.
absl::Status CheckOperators(absl::string_view text) {
  const Operators found = CountOperators(text);
  const double ways = std::pow(found.ways, found.both + 1);
  if (found.both == 0 || ways <= kMaxGrammarWays) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("has ", found.both, " of \"&\" and \"~\", and ", found.ways - 1,
                   " repetitions and alternatives: together up to ", ways,
                   " ways to go on, expected at most ", kMaxGrammarWays));
}

absl::StatusOr<FormatGrammar> FromGrammar(const std::string& text) {
  RETURN_IF_ERROR(CheckRepetitions(text));
  RETURN_IF_ERROR(CheckOperators(text));
  RETURN_IF_ERROR(CheckNesting(text));
  if (std::count(text.begin(), text.end(), '\n') >= kMaxGrammarLines) {
    return absl::InvalidArgumentError(absl::StrCat("has more than ", kMaxGrammarLines, " lines"));
  }
  // Lines that name tokens, or hold schemas that nobody has checked.
  for (const absl::string_view word : {"%json", "%llguidance", "%import", "<[", "<|", "::="}) {
    if (!absl::StrContains(text, word)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("has \"", word,
                     "\", expected Lark syntax with rules such as start: \"a\" | "
                     "/[0-9]+/, without directives and tokens' ids"));
  }
  return FormatGrammar{"lark", text};
}

}  // namespace

absl::StatusOr<FormatGrammar> GrammarOf(const AnswerFormat& format) {
  if (format.kind == AnswerFormat::Kind::kJsonObject) return FromSchema({{"type", "object"}});
  if (format.kind == AnswerFormat::Kind::kChoice) return FromChoices(format.choices);
  if (format.kind == AnswerFormat::Kind::kCalls) return FromCalls(format);
  RETURN_IF_ERROR(CheckText(format.text));
  if (format.kind == AnswerFormat::Kind::kGrammar) return FromGrammar(format.text);
  if (format.kind == AnswerFormat::Kind::kRegex) {
    RETURN_IF_ERROR(CheckRepetitions(format.text));
    RETURN_IF_ERROR(CheckNesting(format.text));
    return FormatGrammar{"regex", format.text};
  }
  ASSIGN_OR_RETURN(json::value schema, CheckedJsonSchema(format.text));
  return FromSchema(std::move(schema));
}

}  // namespace llava::model
