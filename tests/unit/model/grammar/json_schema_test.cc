#include "model/grammar/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <string>

namespace llava::model {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Checked(const std::string& schema) {
  const auto checked = CheckedJsonSchema(schema);
  return checked.ok() ? boost::json::serialize(*checked) : std::string(checked.status().message());
}

TEST(JsonSchema, KeepsWhatDescribesAForm) {
  const std::string schema =
      R"({"type":"object","properties":{"b":{"$ref":"#/$defs/n"},"a":{"enum":[1,"x"]}},)"
      R"("required":["b"],"additionalProperties":false,"$defs":{"n":{"minimum":2}}})";
  EXPECT_EQ(Checked(schema), schema);
}

TEST(JsonSchema, DropsAnnotationsButNotPropertiesOfTheirNames) {
  EXPECT_EQ(Checked(R"({"title":"T","properties":{"title":{"type":"string","default":"x"}}})"),
            R"({"properties":{"title":{"type":"string"}}})");
}

TEST(JsonSchema, NamesAKeywordThatIsNotSupportedAndItsPlace) {
  EXPECT_THAT(Checked(R"({"properties":{"a":{"items":{"not":{}}}}})"),
              StartsWith("#/properties/a/items/not: the keyword is not supported, expected one of "
                         "type, "));
  EXPECT_THAT(Checked(R"({"anyOf":[{},{"if":true}]})"), StartsWith("#/anyOf/1/if: "));
  EXPECT_THAT(Checked(R"({"prefixItems":[{"uniqueItems":true}]})"),
              StartsWith("#/prefixItems/0/uniqueItems: "));
  EXPECT_THAT(Checked(R"({"$defs":{"d":{"x-guidance":{}}}})"),
              StartsWith("#/$defs/d/x-guidance: "));
}

TEST(JsonSchema, LooksIntoEveryPlaceOfASchema) {
  for (const std::string place : {"additionalProperties", "items", "additionalItems"}) {
    EXPECT_THAT(Checked("{\"" + place + "\":{\"not\":{}}}"), StartsWith("#/" + place + "/not: "));
  }
  for (const std::string place : {"anyOf", "oneOf", "allOf", "prefixItems", "items"}) {
    EXPECT_THAT(Checked("{\"" + place + "\":[{\"not\":{}}]}"),
                StartsWith("#/" + place + "/0/not: "));
  }
  for (const std::string place : {"properties", "patternProperties", "$defs", "definitions"}) {
    EXPECT_THAT(Checked("{\"" + place + "\":{\"k\":{\"not\":{}}}}"),
                StartsWith("#/" + place + "/k/not: "));
  }
}

TEST(JsonSchema, WhatOpenApiSaysOfNumbersAndBesides) {
  EXPECT_EQ(Checked(R"({"type":"integer","format":"int32","example":3,"xml":{"name":"n"}})"),
            R"({"type":"integer","minimum":-2147483648,"maximum":2147483647})");
  EXPECT_THAT(Checked(R"({"type":"string","format":"int32"})"), HasSubstr("\"int32\" is not"));
}

// As Pydantic writes unions that a field tells apart: the engine does not look behind $ref.
TEST(JsonSchema, AOneOfWhoseSchemasExcludeEachOtherIsAnAnyOf) {
  const std::string schema = R"({"$defs":{"A":{"const":"a"},"B":{"type":"null"}},)"
                             R"("oneOf":[{"$ref":"#/$defs/A"},{"$ref":"#/$defs/B"}]})";
  EXPECT_THAT(Checked(schema), HasSubstr("anyOf"));
  EXPECT_THAT(Checked("{\"anyOf\":[true]," + schema.substr(1)), HasSubstr("oneOf"));
  EXPECT_THAT(Checked(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})"), HasSubstr("oneOf"));
}

TEST(JsonSchema, SaysWhatAValueIsAndWhatItShouldBe) {
  EXPECT_EQ(Checked(R"({"properties":{"a":{"multipleOf":0}}})"),
            "#/properties/a/multipleOf: is 0, expected a number above 0");
  EXPECT_EQ(Checked(R"({"multipleOf":-2})"), "#/multipleOf: is -2, expected a number above 0");
  EXPECT_EQ(Checked(R"({"multipleOf":"2"})"), "#/multipleOf: is \"2\", expected a number above 0");
  EXPECT_EQ(Checked(R"({"exclusiveMinimum":true})"),
            "#/exclusiveMinimum: is true, expected a number");
  EXPECT_EQ(Checked(R"({"maxItems":-1})"), "#/maxItems: is -1, expected an integer from 0");
  EXPECT_EQ(Checked(R"({"pattern":3})"), "#/pattern: is 3, expected a regular expression as text");
  EXPECT_EQ(Checked(R"({"enum":[]})"), "#/enum: is [], expected a list of at least one value");
  EXPECT_EQ(Checked(R"({"required":"a"})"), "#/required: is \"a\", expected a list of names");
}

TEST(JsonSchema, RefersOnlyToItself) {
  EXPECT_EQ(Checked(R"({"$ref":"#"})"), R"({"$ref":"#"})");
  EXPECT_THAT(Checked(R"({"$ref":"http://example.com/s.json"})"),
              StartsWith("#/$ref: \"http://example.com/s.json\" is not supported"));
  EXPECT_THAT(Checked(R"({"$ref":"#/$defs/a~1b"})"), HasSubstr("is not supported"));
  EXPECT_THAT(Checked(R"({"$ref":1})"), HasSubstr("expected text"));
}

TEST(JsonSchema, KnowsFormats) {
  EXPECT_EQ(Checked(R"({"format":"date"})"), R"({"format":"date"})");
  EXPECT_THAT(Checked(R"({"format":"iri"})"),
              StartsWith("#/format: \"iri\" is not supported, expected date-time, "));
}

// Names may come twice in an object, so that counting them says nothing.
TEST(JsonSchema, TakesMinPropertiesOnlyWhereRequiredSaysAsMuch) {
  EXPECT_EQ(Checked(R"({"required":["a","b"],"minProperties":2})"), R"({"required":["a","b"]})");
  EXPECT_THAT(Checked(R"({"required":["a"],"minProperties":2})"),
              HasSubstr("above the number of required properties, 1"));
}

TEST(JsonSchema, RefusesWhatIsNoSchema) {
  EXPECT_THAT(Checked("[1"), HasSubstr("line 1"));
  EXPECT_THAT(Checked("3"), StartsWith("#: expected a schema"));
  EXPECT_THAT(Checked(R"({"anyOf":{}})"), StartsWith("#/anyOf: expected a list of schemas"));
  EXPECT_THAT(Checked(R"({"properties":[]})"), StartsWith("#/properties: expected an object"));
  std::string deep = "{}";
  for (int i = 0; i < kMaxSchemaDepth; ++i) deep = "{\"items\":" + deep + "}";
  EXPECT_FALSE(CheckedJsonSchema(deep).ok());
}

}  // namespace
}  // namespace llava::model
