#include "model/grammar/schema_exclusion.h"

#include <boost/json/parse.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace llava::model {
namespace {

// {"$defs": {"A": a, "B": b}}, and whether references to the two exclude each other.
bool Exclude(const std::string& a, const std::string& b) {
  const auto root = boost::json::parse(absl::StrCat(R"({"$defs":{"A":)", a, R"(,"B":)", b, "}}"));
  const auto refs = boost::json::parse(R"([{"$ref":"#/$defs/A"},{"$ref":"#/$defs/B"}])");
  return SchemaExclusion(root).ExcludeEachOther(refs.as_array());
}

std::string Object(const std::string& kind, const std::string& required = R"("k")") {
  return absl::StrCat(R"({"type":"object","properties":{"k":)", kind, R"(},"required":[)", required,
                      "]}");
}

TEST(SchemaExclusion, TypesAndValuesTellSchemasApart) {
  EXPECT_TRUE(Exclude(R"({"type":"string"})", R"({"type":["integer","null"]})"));
  EXPECT_TRUE(Exclude(R"({"enum":["a","b"]})", R"({"const":"c"})"));
  EXPECT_TRUE(Exclude(R"({"const":1})", R"({"const":2})"));
  EXPECT_TRUE(Exclude(R"({"const":"1"})", R"({"type":"integer"})"));
  EXPECT_FALSE(Exclude(R"({"type":"integer"})", R"({"type":"number"})"));
  EXPECT_FALSE(Exclude(R"({"enum":["a","b"]})", R"({"enum":["b","c"]})"));
  EXPECT_FALSE(Exclude(R"({"const":1})", R"({"const":1.0})"));
  EXPECT_FALSE(Exclude(R"({"const":[1]})", R"({"const":[1.0]})"));
  EXPECT_FALSE(Exclude(R"({"const":1.0})", R"({"type":"integer"})"));
  EXPECT_FALSE(Exclude("{}", R"({"type":"integer"})"));
  EXPECT_FALSE(Exclude("true", R"({"type":"integer"})"));
}

TEST(SchemaExclusion, AFieldThatBothRequireTellsObjectsApart) {
  const std::string a = Object(R"({"const":"a"})");
  EXPECT_TRUE(Exclude(a, Object(R"({"const":"b"})")));
  EXPECT_TRUE(Exclude(a, R"({"type":"null"})"));
  EXPECT_TRUE(Exclude(Object(a), Object(Object(R"({"const":"b"})"))));
  EXPECT_TRUE(
      Exclude(R"({"properties":{"k":{"const":1}},"required":["k"]})", Object(R"({"const":2})")));
  EXPECT_FALSE(Exclude(a, Object(R"({"const":"b"})", "")));
  EXPECT_FALSE(Exclude(a, Object(R"({"enum":["b","a"]})")));
  EXPECT_FALSE(Exclude(a, R"({"type":"object"})"));
  // Other values than objects satisfy both.
  EXPECT_FALSE(Exclude(R"({"properties":{"k":{"const":1}},"required":["k"]})",
                       R"({"properties":{"k":{"const":2}},"required":["k"]})"));
}

TEST(SchemaExclusion, WhereReferencesLead) {
  EXPECT_TRUE(
      Exclude(R"({"$ref":"#/$defs/B/items"})", R"({"type":"array","items":{"type":"null"}})"));
  EXPECT_FALSE(Exclude(R"({"$ref":"#/$defs/A"})", R"({"type":"null"})"));
  EXPECT_FALSE(Exclude(R"({"$ref":"#/$defs/C"})", R"({"type":"null"})"));
  // In older drafts a $ref counts alone.
  EXPECT_FALSE(Exclude(R"({"$ref":"#/$defs/B","type":"string"})", R"({"type":"null"})"));
}

TEST(SchemaExclusion, WhatTakesTooMuchWorkIsNotSaid) {
  boost::json::array schemas;
  for (int i = 0; i < 1000; ++i) schemas.push_back(boost::json::object{{"const", i}});
  const boost::json::value root;
  EXPECT_FALSE(SchemaExclusion(root).ExcludeEachOther(schemas));
  schemas.resize(100);
  EXPECT_TRUE(SchemaExclusion(root).ExcludeEachOther(schemas));
}

}  // namespace
}  // namespace llava::model
