#include "model/grammar/schema_rewrites.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <string>

#include "model/grammar/json_schema.h"

namespace llava::model {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Checked(const std::string& schema) {
  const auto checked = CheckedJsonSchema(schema);
  return checked.ok() ? boost::json::serialize(*checked) : std::string(checked.status().message());
}

TEST(SchemaRewrites, FormatsThatDescribeNoFormOfATextAreLeftOut) {
  for (const std::string name : {"password", "binary", "path", "file-path", "directory-path"}) {
    EXPECT_EQ(Checked(R"({"type":"string","format":")" + name + "\"}"), R"({"type":"string"})");
  }
}

TEST(SchemaRewrites, FormatsThatTheEngineLacksArePatterns) {
  EXPECT_EQ(Checked(R"({"format":"uuid4"})"),
            R"({"pattern":"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-)"
            R"([0-9a-fA-F]{12}$"})");
  EXPECT_THAT(Checked(R"({"format":"uuid7"})"), HasSubstr("-7[0-9a-fA-F]{3}-"));
  EXPECT_THAT(Checked(R"({"format":"base64url"})"), HasSubstr("[A-Za-z0-9_-]{2}=="));
  EXPECT_EQ(Checked(R"({"format":"byte"})"), Checked(R"({"format":"base64"})"));
  EXPECT_THAT(Checked(R"({"format":"byte","pattern":"^a"})"),
              StartsWith(R"({"pattern":"^a","allOf":[{"pattern":"^([A-Za-z0-9+/]{4})*)"));
  EXPECT_THAT(Checked(R"({"format":"byte","pattern":"^a","allOf":[true]})"),
              HasSubstr(R"("allOf":[true,{"pattern":)"));
}

// As Pydantic 2.12 describes Decimal.
TEST(SchemaRewrites, NotSignsAloneIsAPatternBesideTheRest) {
  EXPECT_EQ(Checked(R"({"pattern":"^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$"})"),
            R"({"pattern":"^[+-]?0*\\d*\\.?\\d*$","allOf":[{"pattern":"[^-+.]"}]})");
  const std::string alternatives = R"({"pattern":"^(?!^[-+.]*$)a|b"})";
  EXPECT_EQ(Checked(alternatives), alternatives);  // the second may be signs alone: the engine's
}

TEST(SchemaRewrites, ListsThatRepeatNothingAreWrittenOut) {
  EXPECT_EQ(Checked(R"({"type":"array","items":{"enum":["a","b"]},"uniqueItems":true})"),
            R"({"type":"array","enum":[[],["a"],["b"],["a","b"],["b","a"]]})");
  EXPECT_EQ(Checked(R"({"type":"array","items":{"$ref":"#/$defs/C"},"uniqueItems":true,)"
                    R"("minItems":2,"$defs":{"C":{"enum":["a","b"],"type":"string"}}})"),
            R"({"type":"array","$defs":{"C":{"enum":["a","b"],"type":"string"}},)"
            R"("enum":[["a","b"],["b","a"]]})");
  EXPECT_EQ(Checked(R"({"type":["array","null"],"items":{"const":1},"uniqueItems":true})"),
            R"({"type":["array","null"],"anyOf":[{"enum":[[],[1]]},{"type":["null"]}]})");
  EXPECT_THAT(Checked(R"({"items":{"enum":[1,1.0,"x",2],"type":"integer"},"uniqueItems":true})"),
              HasSubstr(R"([[],[1],[2],[1,2],[2,1]])"));
}

TEST(SchemaRewrites, ListsThatRepeatNothingOfThemselves) {
  EXPECT_EQ(Checked(R"({"items":{"type":"string"},"uniqueItems":false})"),
            R"({"items":{"type":"string"}})");
  EXPECT_EQ(Checked(R"({"items":{"type":"string"},"uniqueItems":true,"maxItems":1})"),
            R"({"items":{"type":"string"},"maxItems":1})");
}

TEST(SchemaRewrites, ListsThatCannotBeWrittenOutAreRefused) {
  const auto refused = [](const std::string& rest) {
    return Checked(R"({"properties":{"a":{"uniqueItems":true,)" + rest + "}}}");
  };
  EXPECT_THAT(refused(R"("items":{"type":"string"})"),
              StartsWith("#/properties/a/uniqueItems: is supported where items are an enum"));
  EXPECT_THAT(refused(R"("items":{"enum":["a"],"minLength":2})"), HasSubstr("are an enum"));
  EXPECT_THAT(refused(R"("items":{"enum":[["a"]]})"), HasSubstr("are an enum"));
  EXPECT_THAT(refused(R"("items":{"$ref":"#/none"})"), HasSubstr("are an enum"));
  EXPECT_THAT(refused(R"("prefixItems":[],"items":{"enum":["a"]})"),
              HasSubstr("beside prefixItems"));
  EXPECT_THAT(refused(R"("items":{"enum":["a"]},"minItems":2)"), HasSubstr("no list is so long"));
  EXPECT_THAT(refused(R"("items":{"enum":[1,2,3,4,5,6]})"), HasSubstr("more than 400 lists"));
  EXPECT_THAT(refused(R"("items":{"enum":[1,2,3,4,5,6]},"maxItems":3)"), StartsWith("{"));
  EXPECT_THAT(refused("\"items\":{\"enum\":[1,2,3,4,\"" + std::string(1000, 'x') + "\"]}"),
              HasSubstr("in more than 65536 bytes"));
  EXPECT_EQ(Checked(R"({"uniqueItems":1})"), "#/uniqueItems: is 1, expected true or false");
}

// Of a form as a whole, whatever the number of its schemas.
TEST(SchemaRewrites, ListsOfAFormAreCountedTogether) {
  const std::string five = R"({"items":{"enum":[1,2,3,4,5]},"uniqueItems":true})";
  EXPECT_THAT(Checked(R"({"properties":{"a":)" + five + "}}"), StartsWith("{"));
  EXPECT_THAT(Checked(R"({"properties":{"a":)" + five + ",\"b\":" + five + "}}"),
              StartsWith("#/properties/b/uniqueItems: allows, with others before it, more than"));
}

TEST(SchemaRewrites, NamesOfPropertiesAreThoseOfAnEnum) {
  EXPECT_EQ(Checked(R"({"$defs":{"N":{"enum":["a","b"]}},"additionalProperties":{"minimum":1},)"
                    R"("propertyNames":{"$ref":"#/$defs/N"}})"),
            R"({"$defs":{"N":{"enum":["a","b"]}},"additionalProperties":false,)"
            R"("properties":{"a":{"minimum":1},"b":{"minimum":1}}})");
  EXPECT_EQ(Checked(R"({"properties":{"b":{"type":"null"},"c":true},)"
                    R"("propertyNames":{"enum":["a","b"]}})"),
            R"({"properties":{"b":{"type":"null"},"a":true},"additionalProperties":false})");
  EXPECT_EQ(Checked(R"({"properties":{"b":true},"additionalProperties":false,)"
                    R"("propertyNames":{"enum":["a","b"]}})"),
            R"({"properties":{"b":true},"additionalProperties":false})");
}

// As Zod describes records.
TEST(SchemaRewrites, NamesOfPropertiesMayBeAnyTextOrHaveAPattern) {
  EXPECT_EQ(Checked(R"({"propertyNames":{"type":"string"},"additionalProperties":{"minimum":1}})"),
            R"({"additionalProperties":{"minimum":1}})");
  EXPECT_EQ(Checked(R"({"propertyNames":true})"), "{}");
  EXPECT_EQ(Checked(R"({"propertyNames":{"pattern":"^a"},"additionalProperties":{"minimum":1}})"),
            R"({"additionalProperties":false,"patternProperties":{"^a":{"minimum":1}}})");
}

TEST(SchemaRewrites, OtherNamesOfPropertiesAreRefused) {
  const std::string said = "#/propertyNames: is supported as an enum";
  EXPECT_THAT(Checked(R"({"propertyNames":false})"), StartsWith(said));
  EXPECT_THAT(Checked(R"({"propertyNames":{"minLength":2}})"), StartsWith(said));
  EXPECT_THAT(Checked(R"({"propertyNames":{"pattern":"a"},"properties":{}})"), StartsWith(said));
  EXPECT_THAT(Checked(R"({"propertyNames":{"enum":["a"]},"patternProperties":{"a":true}})"),
              StartsWith(said));
  // No schema: what an annotation holds.
  EXPECT_THAT(Checked(R"({"propertyNames":{"$ref":"#/default"},"default":{"pattern":3}})"),
              StartsWith(said));
  EXPECT_THAT(Checked(R"({"propertyNames":{"not":{}}})"), StartsWith("#/propertyNames/not: "));
  std::string names = R"("x")";
  for (int i = 0; i < 240; ++i) names += ",\"" + std::to_string(i) + "\"";
  EXPECT_THAT(Checked(R"({"propertyNames":{"enum":[)" + names + "]}}"),
              HasSubstr("allows 241 names, expected at most 240"));
}

// Many schemas may refer to one list, whose values are compared with each other for each of them.
TEST(SchemaRewrites, LongEnumsAreNotCompared) {
  std::string values = R"("a")";
  for (int i = 1; i < 400; ++i) values += R"(,"a")";
  EXPECT_EQ(Checked(R"({"propertyNames":{"enum":[)" + values + "]}}"),
            R"({"properties":{"a":true},"additionalProperties":false})");
  values += R"(,"a")";
  EXPECT_THAT(Checked(R"({"propertyNames":{"enum":[)" + values + "]}}"),
              StartsWith("#/propertyNames: is supported as an enum of at most 400 values"));
  EXPECT_THAT(Checked(R"({"items":{"enum":[)" + values + R"(]},"uniqueItems":true})"),
              StartsWith("#/uniqueItems: is supported where items are an enum of at most 400"));
}

}  // namespace
}  // namespace llava::model
