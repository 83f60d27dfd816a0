#include "model/grammar/schema_numbers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <string>

namespace llava::model {
namespace {

using ::testing::HasSubstr;

std::string Adapted(const std::string& name, const std::string& text) {
  boost::json::value value = boost::json::parse(text);
  const absl::Status status = AdaptNumbers(name, value);
  return status.ok() ? boost::json::serialize(value) : std::string(status.message());
}

TEST(SchemaNumbers, WhatAFloatHoldsStaysAsItIs) {
  for (const char* name : {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "const"}) {
    for (const char* text : {"0", "-7", "9007199254740992", "2.5E-1", "\"9007199254740993\""}) {
      EXPECT_EQ(Adapted(name, text), text) << name;
    }
  }
  EXPECT_EQ(Adapted("maxItems", "9223372036854775807"), "9223372036854775807");
}

TEST(SchemaNumbers, AFormatOfNumbersIsARange) {
  const auto bounded = [](const char* text) {
    boost::json::object schema = boost::json::parse(text).as_object();
    BoundByFormat(schema);
    return boost::json::serialize(schema);
  };
  EXPECT_EQ(bounded(R"({"type":"integer","format":"int32"})"),
            R"({"type":"integer","minimum":-2147483648,"maximum":2147483647})");
  EXPECT_EQ(bounded(R"({"type":["integer","null"],"format":"int32","minimum":0})"),
            R"({"type":["integer","null"],"minimum":0,"maximum":2147483647})");
  EXPECT_EQ(bounded(R"({"type":"integer","format":"int64","maximum":7})"),
            R"({"type":"integer","maximum":7,"minimum":-9223372036854774784})");
  EXPECT_EQ(bounded(R"({"type":"integer","minimum":-3e9,"maximum":3e9,"format":"int32"})"),
            R"({"type":"integer","minimum":-2147483648,"maximum":2147483647})");
  EXPECT_EQ(bounded(R"({"type":"number","format":"double"})"), R"({"type":"number"})");
  for (const char* other : {R"({"type":"string","format":"int32"})", R"({"format":"int32"})",
                            R"({"type":"integer","format":"uuid"})", R"({"type":"integer"})"}) {
    EXPECT_EQ(bounded(other), other);
  }
}

TEST(SchemaNumbers, CountsThatAreWrittenAsFloatsAreIntegers) {
  for (const char* name :
       {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}) {
    EXPECT_EQ(Adapted(name, "1.0"), "1") << name;
    EXPECT_EQ(Adapted(name, "2e3"), "2000") << name;
    EXPECT_EQ(Adapted(name, "7"), "7") << name;
    EXPECT_EQ(Adapted(name, "1.5"), "is 1.5E0, expected an integer from 0 to below 2^63") << name;
    EXPECT_THAT(Adapted(name, "-1.0"), HasSubstr("is -1E0")) << name;
    EXPECT_THAT(Adapted(name, "1e19"), HasSubstr("is 1E19")) << name;
  }
}

// The ends of int64, which generators of schemas write for every integer, overflow in the engine.
TEST(SchemaNumbers, AMultipleIsOneThatTheEngineCanCountBy) {
  for (const char* text : {"7", "8.64E4", "2.5E-1", "1E-2", "1E-6", "1E-8"}) {
    EXPECT_EQ(Adapted("multipleOf", text), text);
  }
  EXPECT_EQ(Adapted("multipleOf", "0.07"), "6.999999999999999E-2");
  EXPECT_THAT(Adapted("multipleOf", "0.57"), HasSubstr("is 5.7E-1, by which the grammar engine"));
}

TEST(SchemaNumbers, BoundsBecomeStricterWhereTheyWouldOverflow) {
  EXPECT_EQ(Adapted("minimum", "-9223372036854775808"), "-9223372036854774784");
  EXPECT_EQ(Adapted("maximum", "9223372036854775807"), "9223372036854774784");
  EXPECT_EQ(Adapted("exclusiveMaximum", "1e300"), "9223372036854774784");
  EXPECT_EQ(Adapted("exclusiveMinimum", "-1e300"), "-9223372036854774784");
}

TEST(SchemaNumbers, BoundsBecomeStricterWhereTheyWouldBeRounded) {
  EXPECT_EQ(Adapted("maximum", "9007199254740995"), "9007199254740994");
  EXPECT_EQ(Adapted("minimum", "9007199254740993"), "9007199254740994");
  EXPECT_EQ(Adapted("minimum", "-9007199254740995"), "-9007199254740994");
}

TEST(SchemaNumbers, BoundsThatNothingSatisfiesAreErrors) {
  EXPECT_EQ(Adapted("maximum", "-9223372036854775808"),
            "is -9223372036854775808, expected a number above -2^63");
  EXPECT_THAT(Adapted("minimum", "1e19"), HasSubstr("expected a number below 2^63"));
}

TEST(SchemaNumbers, AnIntegerThatWouldBeRoundedIsAnError) {
  for (const char* text : {"9007199254740993", "[1, {\"a\": 9007199254740993}]"}) {
    EXPECT_EQ(Adapted("enum", text),
              "has 9007199254740993, expected integers that a float64 holds exactly: up to 2^53 in "
              "size");
  }
  EXPECT_THAT(Adapted("const", "-9223372036854775808"), HasSubstr("has -9223372036854775808"));
  EXPECT_THAT(Adapted("const", "-9223372036854775807"), HasSubstr("has -9223372036854775807"));
}

boost::json::value Closed(const std::string& text) {
  boost::json::value schema = boost::json::parse(text);
  CloseNarrowRange(schema.as_object());
  return schema;
}

TEST(SchemaNumbers, TheEndsOfANarrowOpenRangeMoveIntoIt) {
  const boost::json::value half = Closed(R"({"exclusiveMinimum":0,"maximum":0.5})");
  EXPECT_EQ(boost::json::serialize(half.at("minimum")), "1E-7");
  EXPECT_EQ(half, boost::json::parse(R"({"minimum":1e-7,"maximum":0.5})"));
  const boost::json::value quarter =
      Closed(R"({"exclusiveMaximum":0.25,"minimum":0,"exclusiveMinimum":-1})");
  EXPECT_FALSE(quarter.as_object().contains("exclusiveMaximum"));
  EXPECT_NEAR(quarter.at("maximum").as_double(), 0.2499999, 1e-12);
  EXPECT_EQ(quarter.at("exclusiveMinimum"), -1);
}

// A millionth of the width is less than what a float64 of this size can tell apart.
TEST(SchemaNumbers, TheEndsOfANarrowOpenRangeMoveHoweverLargeTheyAre) {
  const boost::json::value far =
      Closed(R"({"exclusiveMinimum":1125899906842624,"exclusiveMaximum":1125899906842624.75})");
  EXPECT_EQ(far.at("minimum").as_double(), 1125899906842624.25);
  EXPECT_EQ(far.at("maximum").as_double(), 1125899906842624.5);
}

TEST(SchemaNumbers, OtherRangesStayOpen) {
  for (const char* text :
       {R"({"exclusiveMinimum":0})", R"({"exclusiveMinimum":0,"maximum":1})",
        R"({"minimum":0,"maximum":0.5})", R"({"exclusiveMinimum":2,"maximum":0.5})",
        R"({"exclusiveMinimum":"x","maximum":0.5})"}) {
    EXPECT_EQ(Closed(text), boost::json::parse(text)) << text;
  }
}

}  // namespace
}  // namespace llava::model
