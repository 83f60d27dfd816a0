#include "model/grammar/schema_costs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <string>

#include "absl/strings/str_cat.h"

namespace llava::model {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Said(const std::string& text) {
  const boost::json::value schema = boost::json::parse(text);
  SchemaTotals totals;
  return std::string(SchemaCosts(schema, &totals).Check(schema).message());
}

// "[item, item, ...]", each made of its number.
template <typename Make>
std::string Listed(int count, Make make) {
  std::string list;
  for (int i = 0; i < count; ++i) absl::StrAppend(&list, i == 0 ? "" : ",", make(i));
  return list;
}

std::string Pattern(int i) { return absl::StrCat(R"({"pattern":".*)", i, R"(.*"})"); }

TEST(SchemaCosts, PatternsOfOneTextAreCounted) {
  EXPECT_THAT(Said(absl::StrCat(R"({"allOf":[)", Listed(8, Pattern), "]}")), IsEmpty());
  EXPECT_THAT(Said(absl::StrCat(R"({"format":"email","allOf":[)", Listed(8, Pattern), "]}")),
              HasSubstr("one text has to match 9 patterns and formats, expected at most 8"));
  EXPECT_THAT(Said(absl::StrCat(R"({"anyOf":[)", Listed(30, Pattern), "]}")), IsEmpty());
  const auto property = [](int i) { return absl::StrCat("\"p", i, "\":", Pattern(i)); };
  EXPECT_THAT(Said(absl::StrCat(R"({"required":[],"properties":{)", Listed(30, property), "}}")),
              IsEmpty());
}

TEST(SchemaCosts, WaysThroughTwoPatternsAreMultiplied) {
  const auto many = [](int count) {
    return absl::StrCat(R"({"pattern":")", Listed(count, [](int) { return "a|"; }), "\"}");
  };
  EXPECT_THAT(Said(many(2000)), IsEmpty());
  EXPECT_THAT(Said(absl::StrCat(R"({"allOf":[)", many(300), ",", many(300), "]}")), IsEmpty());
  EXPECT_THAT(Said(absl::StrCat(R"({"allOf":[)", many(400), ",", many(400), "]}")),
              HasSubstr("one text has to match 2 patterns and formats whose repetitions and "
                        "alternatives multiply to 160801, expected at most 100000"));
  EXPECT_THAT(Said(R"({"format":"email","pattern":"^[a-z]+@example\\.org$"})"), IsEmpty());
}

TEST(SchemaCosts, PatternPropertiesAreCompared) {
  const auto property = [](int i) { return absl::StrCat("\"^p", i, "\":{}"); };
  const auto said = [](const std::string& patterns) {
    return Said(absl::StrCat(R"({"patternProperties":{)", patterns, "}}"));
  };
  EXPECT_THAT(said(Listed(32, property)), IsEmpty());
  EXPECT_THAT(said(Listed(33, property)),
              HasSubstr("has 33 patternProperties, expected at most 32"));
  const auto many = [](int i) { return absl::StrCat("\"", i, std::string(400, '|'), "\":{}"); };
  EXPECT_THAT(said(Listed(1, many)), IsEmpty());
  EXPECT_THAT(said(Listed(2, many)), HasSubstr("multiply to 160801, expected at most 100000"));
}

TEST(SchemaCosts, ReferencesAreFollowed) {
  const auto link = [](int i) {
    return absl::StrCat("\"a", i, R"(":{"$ref":"#/$defs/a)", i + 1, R"(","pattern":"x"})");
  };
  EXPECT_THAT(Said(absl::StrCat(R"({"$ref":"#/$defs/a0","$defs":{)", Listed(9, link), "}}")),
              HasSubstr("has to match 9 patterns"));
  EXPECT_THAT(Said(R"({"$ref":"#","pattern":"x"})"), IsEmpty());  // the engine refuses circles
  EXPECT_THAT(Said(R"({"$ref":"#/$defs/none"})"), IsEmpty());
}

TEST(SchemaCosts, WhatLeadsToTooManySchemasIsRefused) {
  const auto twice = [](int i) {
    const std::string next = absl::StrCat(R"({"$ref":"#/$defs/a)", i + 1, "\"}");
    return absl::StrCat("\"a", i, R"(":{"anyOf":[)", next, ",", next, "]}");
  };
  EXPECT_THAT(Said(absl::StrCat(R"({"$ref":"#/$defs/a0","$defs":{)", Listed(40, twice), "}}")),
              HasSubstr("lead to more than 100000 schemas"));
}

TEST(SchemaCosts, MultiplesThatPeopleWriteAreTaken) {
  for (const char* multiple : {"1", "60", "100", "1000", "3600", "86400", "1000000", "100000000",
                               "0.01", "0.001", "1e-6", "1e-8", "0.25", "19.99"}) {
    EXPECT_THAT(Said(absl::StrCat(R"({"multipleOf":)", multiple, "}")), IsEmpty()) << multiple;
  }
}

TEST(SchemaCosts, MultiplesOfManyRemaindersAreRefused) {
  EXPECT_THAT(
      Said(R"({"multipleOf":604800})"),
      HasSubstr("a multiple of 604800 (without its decimal point), expected at most 100000, "
                "or a power of ten"));
  EXPECT_THAT(Said(R"({"multipleOf":60.48007})"), HasSubstr("a multiple of 6048007"));
  EXPECT_THAT(Said(R"({"multipleOf":1000000000})"), HasSubstr("expected at most 100000000"));
  EXPECT_THAT(Said(R"({"multipleOf":3e-9})"), HasSubstr("more than 8 decimals"));
  EXPECT_THAT(Said(R"({"multipleOf":1e-12})"), HasSubstr("more than 8 decimals"));
}

TEST(SchemaCosts, MultiplesOfOneNumberAreTakenTogether) {
  EXPECT_THAT(Said(R"({"allOf":[{"multipleOf":97},{"multipleOf":89}]})"), IsEmpty());
  EXPECT_THAT(Said(R"({"multipleOf":997,"allOf":[{"multipleOf":997},{"multipleOf":991}]})"),
              HasSubstr("a multiple of 988027"));
  // 0.001 and 7 are together a multiple of 7.000, and 0.9 and 7 one of 63.
  EXPECT_THAT(Said(R"({"multipleOf":0.001,"allOf":[{"multipleOf":7}]})"), IsEmpty());
  EXPECT_THAT(Said(R"({"multipleOf":0.9,"allOf":[{"multipleOf":7}]})"), IsEmpty());
  EXPECT_THAT(Said(R"({"multipleOf":0.9999,"allOf":[{"multipleOf":7919}]})"),
              HasSubstr("expected at most 100000"));
  // Each of the first with each of the second.
  EXPECT_THAT(Said(R"({"allOf":[{"anyOf":[{"multipleOf":2},{"multipleOf":997}]},
                                {"anyOf":[{"multipleOf":991},{"multipleOf":3}]}]})"),
              HasSubstr("a multiple of 988027"));
}

TEST(SchemaCosts, MultiplesOfAllNumbersAddUp) {
  const auto property = [](int multiple) {
    return [multiple](int i) {
      return absl::StrCat("\"p", i, R"(":{"multipleOf":)", multiple + i, "}");
    };
  };
  const auto all = [](const std::string& list) {
    const boost::json::value schema = boost::json::parse(absl::StrCat("{", list, "}"));
    SchemaTotals totals;
    SchemaCosts costs(schema, &totals);
    for (const auto& [name, part] : schema.as_object()) {
      const absl::Status status = costs.Check(part);
      if (!status.ok()) return std::string(status.message());
    }
    return std::string();
  };
  EXPECT_THAT(all(Listed(9, property(10001))), IsEmpty());
  EXPECT_THAT(all(Listed(10, property(10001))),
              HasSubstr("the different multiples in the schema (without their decimal points) add "
                        "up to 100055 here, expected at most 100000"));
  const auto same = [](int i) { return absl::StrCat("\"p", i, R"(":{"multipleOf":86400})"); };
  EXPECT_THAT(all(Listed(50, same)), IsEmpty());
}

TEST(SchemaCosts, RepetitionsOfPatternsAreBounded) {
  const auto repeated = [](int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += ".*";
    return text;
  };
  EXPECT_THAT(Said(absl::StrCat(R"({"pattern":")", repeated(1000), "\"}")), IsEmpty());
  EXPECT_THAT(Said(absl::StrCat(R"({"pattern":")", repeated(1001), "\"}")),
              HasSubstr("has 1001 repetitions (*, +, ? and {), expected at most 1000"));
  EXPECT_THAT(Said(absl::StrCat(R"({"patternProperties":{")", repeated(1001), "\":{}}}")),
              HasSubstr("has 1001 repetitions"));
  SchemaTotals totals;
  const auto next = [&](const std::string& text) {
    const boost::json::value schema = boost::json::parse(text);
    return std::string(SchemaCosts(schema, &totals).Check(schema).message());
  };
  const std::string half = absl::StrCat(R"({"pattern":")", repeated(500), "\"}");
  for (int i = 0; i < 4; ++i) EXPECT_THAT(next(half), IsEmpty());
  EXPECT_THAT(next(half), HasSubstr("too many beside those of the patterns before it"));
}

TEST(SchemaCosts, PropertiesThatMayBeLeftOutAreCounted) {
  const auto property = [](int i) { return absl::StrCat("\"p", i, "\":{}"); };
  const auto name = [](int i) { return absl::StrCat("\"p", i, "\""); };
  const std::string properties = absl::StrCat(R"("properties":{)", Listed(300, property), "}");
  EXPECT_THAT(Said(absl::StrCat("{", properties, "}")),
              HasSubstr("has 300 properties that may be left out, expected at most 240"));
  EXPECT_THAT(Said(absl::StrCat("{", properties, R"(,"required":[)", Listed(60, name), "]}")),
              IsEmpty());
}

}  // namespace
}  // namespace llava::model
