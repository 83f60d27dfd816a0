#include "base/json_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"
#include "base/durable_file.h"
#include "tests/support/temp_dir.h"

namespace llava {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

boost::json::object Object(std::string_view text) { return ParseJsonObject(text, "f").value(); }

TEST(JsonReader, ReadsEachTypeAndTakesDefaults) {
  const auto object =
      Object(R"({"i": 3, "d": 2, "b": true, "s": "x", "ids": [1, 2], "id": 7, "none": null,)"
             R"( "o": {"i": 4}})");
  JsonReader reader("f", object);
  EXPECT_EQ(reader.Int("i", 0, 0, 10), 3);
  EXPECT_EQ(reader.Double("d", 0, 0, 10), 2.0);
  EXPECT_TRUE(reader.Bool("b", false));
  EXPECT_EQ(reader.String("s", ""), "x");
  EXPECT_THAT(reader.IntOrInts("ids", {}, 0, 9, 2), ElementsAre(1, 2));
  EXPECT_THAT(reader.IntOrInts("id", {}, 0, 9, 2), ElementsAre(7));
  EXPECT_EQ(reader.Object("o").Int("i", 0, 0, 10), 4);
  for (const char* absent : {"none", "missing"}) {
    EXPECT_EQ(reader.Int(absent, 9, 0, 1), 9) << absent;
    EXPECT_EQ(reader.String(absent, "y"), "y") << absent;
    EXPECT_FALSE(reader.Has(absent)) << absent;
  }
  EXPECT_TRUE(reader.Contains("none"));
  EXPECT_FALSE(reader.Contains("missing"));
  EXPECT_TRUE(reader.status().ok()) << reader.status();
}

TEST(JsonReader, TheFirstMistakeNamesFilePathAndValueAndStays) {
  const auto object = Object(R"({"o": {"i": "many"}, "i": 11})");
  JsonReader reader("config.json", object);
  EXPECT_EQ(reader.Object("o").Int("i", 5, 0, 10), 5);
  EXPECT_EQ(reader.Int("i", 6, 0, 10), 6);  // out of range too, but not the first
  EXPECT_TRUE(absl::IsInvalidArgument(reader.status()));
  const std::string message(reader.status().message());
  EXPECT_THAT(message, HasSubstr("config.json: o.i: expected "));
  EXPECT_THAT(message, HasSubstr("\"many\""));
}

TEST(JsonReader, RangesAreInclusive) {
  const auto object = Object(R"({"low": 1, "high": 5, "above": 6, "below": 0})");
  for (const char* inside : {"low", "high"}) {
    JsonReader reader("f", object);
    reader.Int(inside, 3, 1, 5);
    EXPECT_TRUE(reader.status().ok()) << inside;
  }
  for (const char* outside : {"above", "below"}) {
    JsonReader reader("f", object);
    reader.Int(outside, 3, 1, 5);
    EXPECT_FALSE(reader.status().ok()) << outside;
  }
}

TEST(JsonReader, LongValuesAreCutInMistakes) {
  const auto object = Object(R"({"s": [")" + std::string(5000, 'x') + R"("]})");
  JsonReader reader("f", object);
  reader.String("s", "");
  EXPECT_LT(reader.status().message().size(), 300u);
}

TEST(JsonReader, RefusesWhatIsNoObjectAndWhatIsTooDeep) {
  for (const std::string& text :
       {std::string("[1]"), std::string("{"), std::string("{} x"),
        std::string("{\"a\":") + std::string(100, '[') + std::string(100, ']') + "}"}) {
    const absl::Status status = ParseJsonObject(text, "f.json").status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("f.json"));
  }
}

TEST(JsonReader, AByteOrderMarkInFrontIsNoFault) {
  EXPECT_EQ(ParseJsonObject("\xef\xbb\xbf{\"a\": 1}", "f.json")->size(), 1u);
  EXPECT_FALSE(ParseJsonObject("\xef\xbb\xbf", "f.json").ok());
  EXPECT_FALSE(ParseJsonObject("{}\xef\xbb\xbf", "f.json").ok());
}

TEST(JsonReader, FilesAreReadWithTheirNameInErrors) {
  const test::TempDir dir;
  const std::string path = dir.path() + "/a.json";
  EXPECT_TRUE(absl::IsNotFound(ReadJsonObject(path).status()));
  ASSERT_TRUE(WriteFile(path, R"({"a": 1})").ok());
  EXPECT_EQ(ReadJsonObject(path)->at("a").as_int64(), 1);
}

}  // namespace
}  // namespace llava
