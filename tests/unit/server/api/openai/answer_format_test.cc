#include "server/api/openai/answer_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <string>

#include "base/field_error.h"

namespace llava::api {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kind = model::AnswerFormat::Kind;

absl::StatusOr<std::optional<model::AnswerFormat>> ResponseFormat(const char* value) {
  std::optional<model::AnswerFormat> format;
  const absl::Status status = ReadResponseFormat(boost::json::parse(value), "rf", &format);
  if (!status.ok()) return status;
  return format;
}

absl::StatusOr<std::optional<model::AnswerFormat>> Outputs(const char* value) {
  std::optional<model::AnswerFormat> format;
  const absl::Status status = ReadStructuredOutputs(boost::json::parse(value), "so", &format);
  if (!status.ok()) return status;
  return format;
}

TEST(AnswerFormat, ResponseFormatOfEachType) {
  EXPECT_EQ(ResponseFormat(R"({"type": "text"})")->has_value(), false);
  EXPECT_EQ((*ResponseFormat(R"({"type": "json_object"})"))->kind, Kind::kJsonObject);
  const model::AnswerFormat schema = **ResponseFormat(
      R"({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "description": null,
          "schema": {"type": "object", "properties": {"b": {}, "a": {}}}}})");
  EXPECT_EQ(schema.kind, Kind::kJsonSchema);
  EXPECT_EQ(schema.text, R"({"type":"object","properties":{"b":{},"a":{}}})");
  EXPECT_EQ(schema.field, "rf.json_schema.schema");
}

TEST(AnswerFormat, StructuredOutputsOfEachKind) {
  EXPECT_EQ(Outputs("{}")->has_value(), false);
  EXPECT_EQ(
      Outputs(R"({"json": null, "json_object": false, "disable_fallback": false})")->has_value(),
      false);
  EXPECT_EQ((*Outputs(R"({"json_object": true})"))->kind, Kind::kJsonObject);
  EXPECT_EQ((*Outputs(R"({"json": {"a": 1}})"))->text, R"({"a":1})");
  EXPECT_EQ((*Outputs(R"({"json": "{ }"})"))->text, "{ }");
  EXPECT_EQ((*Outputs(R"({"regex": "a+"})"))->text, "a+");
  EXPECT_EQ((*Outputs(R"({"grammar": "start: x"})"))->kind, Kind::kGrammar);
  EXPECT_THAT((*Outputs(R"({"choice": ["a", "b"]})"))->choices, ElementsAre("a", "b"));
}

TEST(AnswerFormat, ErrorsNameTheField) {
  const std::pair<const char*, const char*> formats[] = {
      {"3", "rf"},
      {"{}", "rf"},
      {R"({"type": "xml"})", "rf.type"},
      {R"({"type": "json_schema"})", "rf.json_schema"},
      {R"({"type": "text", "json_schema": {}})", "rf.json_schema"},
      {R"({"type": "json_schema", "json_schema": {"name": "n"}})", "rf.json_schema.schema"},
      {R"({"type": "json_schema", "json_schema": {"schema": 3}})", "rf.json_schema.schema"},
      {R"({"type": "json_schema", "json_schema": {"schema": {}, "strict": 1}})",
       "rf.json_schema.strict"},
      {R"({"type": "json_schema", "json_schema": {"schema": {}, "name": 1}})",
       "rf.json_schema.name"},
      {R"({"type": "json_schema", "json_schema": {"schema": {}, "x": 1}})", "rf.json_schema.x"},
  };
  for (const auto& [value, field] : formats) {
    EXPECT_EQ(FieldOf(ResponseFormat(value).status()), field) << value;
  }
  const std::pair<const char*, const char*> outputs[] = {
      {"[]", "so"},
      {R"({"x": null})", "so.x"},
      {R"({"regex": 3})", "so.regex"},
      {R"({"choice": "a"})", "so.choice"},
      {R"({"choice": ["a", 1]})", "so.choice[1]"},
      {R"({"json": 3})", "so.json"},
      {R"({"json_object": "yes"})", "so.json_object"},
      {R"({"structural_tag": {}})", "so.structural_tag"},
      {R"({"regex": "a", "grammar": "b"})", "so.grammar"},
  };
  for (const auto& [value, field] : outputs) {
    EXPECT_EQ(FieldOf(Outputs(value).status()), field) << value;
  }
}

TEST(AnswerFormat, ThereIsOnlyOne) {
  std::optional<model::AnswerFormat> format = model::AnswerFormat{.field = "so.regex"};
  const absl::Status status =
      ReadResponseFormat(boost::json::parse(R"({"type": "json_object"})"), "rf", &format);
  EXPECT_THAT(std::string(status.message()), HasSubstr("cannot be used together with so.regex"));
}

}  // namespace
}  // namespace llava::api
