#include "training/evaluate/benchmarks/bench_files.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/bench_folder.h"

namespace llava::training {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(BenchFiles, AreFoundBelowTheFolder) {
  test::BenchFolder folder;
  folder.Add("a/one.json", "{}").Add("b/two.json", "{}").Add("c/two.json", "{}");
  EXPECT_EQ(*FindBenchFile(folder.path(), {"none", "one.json"}), folder.path() + "/a/one.json");
  EXPECT_TRUE(absl::IsInvalidArgument(FindBenchFile(folder.path(), {"two.json"}).status()));
  folder.Add("two.json", "{}");
  EXPECT_EQ(*FindBenchFile(folder.path(), {"two.json"}), folder.path() + "/two.json");
  EXPECT_TRUE(absl::IsNotFound(FindBenchFile(folder.path(), {"none"}).status()));
  EXPECT_EQ(*GivenOrFound("given", folder.path(), {"none"}), "given");
}

TEST(BenchFiles, LinesAreObjects) {
  test::BenchFolder folder;
  folder.Add("good", "{\"id\": 7}\n\n{\"id\": \"x\"}").Add("bad", "{}\n[1]\n").Add("empty", "\n");
  const auto lines = ReadBenchLines(folder.path() + "/good");
  ASSERT_TRUE(lines.ok()) << lines.status();
  EXPECT_EQ(TextOr((*lines)[0], "id"), "7");
  EXPECT_EQ(TextOr((*lines)[1], "id"), "x");
  EXPECT_EQ(TextOr((*lines)[1], "none"), "");
  EXPECT_FALSE(TextAt((*lines)[1], "none", "here").ok());
  EXPECT_THAT(std::string(ReadBenchLines(folder.path() + "/bad").status().message()),
              HasSubstr("bad:2"));
  EXPECT_FALSE(ReadBenchLines(folder.path() + "/empty").ok());
}

TEST(BenchFiles, TablesAreReadAsPandasDoes) {
  const auto table = ParseTabSeparated(
      "index\tquestion\thint\r\n1\t\"a \"\"b\"\"\tc\nd\"\tx\r\n2\tplain \"q\"\n\n", "t.tsv");
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_THAT(table->columns, ElementsAre("index", "question", "hint"));
  ASSERT_EQ(table->rows.size(), 2u);
  EXPECT_THAT(table->rows[0], ElementsAre("1", "a \"b\"\tc\nd", "x"));
  EXPECT_THAT(table->rows[1], ElementsAre("2", "plain \"q\"", ""));
  EXPECT_EQ(table->Column("hint"), 2);
  EXPECT_EQ(table->Column("none"), -1);
  EXPECT_FALSE(ParseTabSeparated("a\n1\t2\n", "t").ok());
  EXPECT_FALSE(ParseTabSeparated("a\tb\n", "t").ok());
}

TEST(BenchFiles, SomeTextsAreNoValues) {
  for (const char* none : {"", "nan", "NaN", "NA", "None", "null"}) EXPECT_TRUE(IsNoValue(none));
  EXPECT_FALSE(IsNoValue("no"));
}

}  // namespace
}  // namespace llava::training
