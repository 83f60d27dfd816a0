#include "server/api/openai/json_body.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace llava::api {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string ErrorOf(const std::string& text) {
  const auto object = ParseJsonObject(text);
  EXPECT_FALSE(object.ok()) << text;
  EXPECT_TRUE(object.ok() || absl::IsInvalidArgument(object.status()));
  return std::string(object.status().message());
}

TEST(JsonBodyTest, FaultsHaveALineAndAColumn) {
  EXPECT_THAT(ErrorOf("{\n  \"a\": 1,\n  \"b\" 2\n}"), StartsWith("the body: line 3, column 7: "));
  EXPECT_THAT(ErrorOf("x"), StartsWith("the body: line 1, column 1: "));
  EXPECT_THAT(ErrorOf("{\"a\": 1"), StartsWith("the body: line 1, column 8: "));
  EXPECT_THAT(ErrorOf("{}\n{}"), StartsWith("the body: line 2, column 1: "));
  EXPECT_THAT(ErrorOf(""), StartsWith("the body: line 1, column 1: "));
  EXPECT_THAT(ErrorOf("{\"a\": \"\xff\"}"), StartsWith("the body: line 1, column 8: "));
}

TEST(JsonBodyTest, OnlyAnObject) {
  EXPECT_EQ(ErrorOf("[1]"), "the body: expected a JSON object");
  EXPECT_EQ(ParseJsonObject(" {\"a\": [\"x, [y\", {}]} \n")->size(), 1u);
  EXPECT_EQ(ParseJsonObject("\xef\xbb\xbf{\"a\": 1}")->size(), 1u);  // a byte order mark
}

TEST(JsonBodyTest, ManySmallValuesAreRefusedBeforeTheyAreBuilt) {
  std::string list = "{\"a\": [0";
  for (std::size_t i = 0; i < kMaxJsonValues; ++i) list += ",0";
  EXPECT_THAT(ErrorOf(list + "]}"), HasSubstr("expected at most 262144 JSON values"));
  std::string nested = "{\"a\": [[]";
  for (std::size_t i = 0; i < kMaxJsonValues / 2 + 1; ++i) nested += ",[]";
  EXPECT_THAT(ErrorOf(nested + "]}"), HasSubstr("expected at most"));
  // Commas and brackets of a text are no values, whatever quotes are in it.
  const std::string text(2 * kMaxJsonValues, ',');
  EXPECT_TRUE(ParseJsonObject("{\"a\": \"\\\"" + text + "\\\\\"}").ok());
}

TEST(JsonBodyTest, WholeNumbersMayBeWrittenAsFractions) {
  const auto object = *ParseJsonObject(R"({"a": 5, "b": 5.0, "c": 1e2, "d": 1.5, "e": "5",
                                           "f": 1e300, "g": -3, "h": 9223372036854775808.0,
                                           "i": -9007199254740992.0})");
  EXPECT_EQ(WholeNumber(object.at("a")), 5);
  EXPECT_EQ(WholeNumber(object.at("b")), 5);
  EXPECT_EQ(WholeNumber(object.at("c")), 100);
  EXPECT_EQ(WholeNumber(object.at("g")), -3);
  EXPECT_EQ(WholeNumber(object.at("i")), -9007199254740992);
  for (const char* key : {"d", "e", "f", "h"}) EXPECT_EQ(WholeNumber(object.at(key)), std::nullopt);
}

// A schema may have 48 levels (model::kMaxSchemaDepth), and stands in a function of a request.
TEST(JsonBodyTest, DepthIsBounded) {
  const auto deep =
      ParseJsonObject("{\"tools\": [[[" + std::string(48, '[') + std::string(48, ']') + "]]]}");
  EXPECT_TRUE(deep.ok()) << deep.status();
  EXPECT_THAT(ErrorOf("{\"a\": " + std::string(64, '[') + std::string(64, ']') + "}"),
              HasSubstr("too deep"));
}

TEST(JsonBody, AWrongValueIsNamedAndALongOneCut) {
  const auto said = [](const boost::json::value& value) {
    return std::string(Wrong("field", value, "text").message());
  };
  EXPECT_EQ(said(1e12), "field: is 1E12, expected text");
  EXPECT_EQ(said(nullptr), "field: is null, expected text");
  EXPECT_EQ(said(boost::json::array{1, 2}), "field: is a list, expected text");
  EXPECT_EQ(said(boost::json::object{{"a", 1}}), "field: is an object, expected text");
  EXPECT_EQ(said(boost::json::array{}), "field: is an empty list, expected text");
  EXPECT_EQ(said(boost::json::object{}), "field: is an empty object, expected text");
  EXPECT_EQ(said("short"), "field: is 'short', expected text");
  EXPECT_EQ(said(boost::json::string(std::string(5000, 'x'))),
            "field: is '" + std::string(100, 'x') + "... (5000 bytes)', expected text");
  const boost::json::value* none = nullptr;
  EXPECT_EQ(Wrong("field", none, "text").message(), "field: is missing, expected text");
  EXPECT_EQ(NotSupported("field", 2, "1").message(),
            "field: is 2, which is not supported, expected 1");
}

}  // namespace
}  // namespace llava::api
