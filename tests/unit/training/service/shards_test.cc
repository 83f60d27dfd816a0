#include "training/service/shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ShardsTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = dir_.path() + "/" + name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  test::TempDir dir_;
};

TEST_F(ShardsTest, AreTheDataFilesOfAFolderByName) {
  const std::string b = Write("b.jsonl", "");
  const std::string a = Write("a.json", "");
  const std::string c = Write("c.gz", "");
  Write("d.txt", "");
  std::filesystem::create_directory(dir_.path() + "/e.json");
  std::filesystem::create_symlink("loop.jsonl", dir_.path() + "/loop.jsonl");
  EXPECT_THAT(*ListShards(dir_.path()), ElementsAre(a, b, c));
  EXPECT_TRUE(absl::IsNotFound(ListShards(dir_.path() + "/none").status()));
}

TEST_F(ShardsTest, AreCountedAndDigestedAsTheyLieThere) {
  const std::string text = "{\"id\": 1}\n{\"id\": 2}\n";
  const auto lines = DescribeShard(Write("a.jsonl", text), dir_.path());
  ASSERT_TRUE(lines.ok()) << lines.status();
  EXPECT_EQ(lines->rows, 2);
  EXPECT_EQ(lines->sha256, Sha256Of(text).Hex());
  EXPECT_EQ(DescribeShard(Write("b.json", "[{}, {}, {}]"), dir_.path())->rows, 3);
  const std::string torn = "[{}] {\"id\": 1}";
  const auto damaged = DescribeShard(Write("c.jsonl", torn), dir_.path());
  EXPECT_EQ(damaged->rows, 1);
  EXPECT_EQ(damaged->sha256, Sha256Of(torn).Hex());
  EXPECT_FALSE(damaged->is_blank);
  EXPECT_EQ(damaged->damage, "line 1, column 6: there is something behind the end of the list");
  EXPECT_TRUE(absl::IsNotFound(DescribeShard(dir_.path() + "/none", dir_.path()).status()));
  const std::string cut = Write("g.gz", std::string("\x1f\x8b\x08\0\0\0\0\0\0\x03", 10));
  EXPECT_EQ(DescribeShard(cut, dir_.path())->damage, "the gzip stream ends too early");
  EXPECT_TRUE(DescribeShard(Write("d.jsonl", ""), dir_.path())->is_blank);
  EXPECT_TRUE(DescribeShard(Write("e.jsonl", "\n \r\n"), dir_.path())->is_blank);
  EXPECT_FALSE(DescribeShard(Write("f.json", "[]"), dir_.path())->is_blank);
}

// Cut anywhere a shard is whole up to a row, or says where it is not.
TEST_F(ShardsTest, AnEndWithinARowIsADamage) {
  const std::string row = "{\"id\": \"a\"}";
  const std::string lines = absl::StrCat(row, "\n", row);
  for (std::size_t size = 1; size < lines.size(); ++size) {
    const auto cut = DescribeShard(Write("a.jsonl", lines.substr(0, size)), dir_.path());
    ASSERT_TRUE(cut.ok()) << cut.status();
    const bool whole = size == row.size() || size == row.size() + 1;
    EXPECT_EQ(cut->damage.empty(), whole) << size << " " << cut->damage;
    EXPECT_EQ(cut->rows, size < row.size() ? 0 : 1) << size;
  }
  EXPECT_THAT(DescribeShard(Write("a.jsonl", row + "\n{"), dir_.path())->damage,
              HasSubstr("the file ends within the row that begins in line 2"));
  const auto all = DescribeShard(Write("a.jsonl", lines), dir_.path());
  EXPECT_EQ(all->damage, "");
  EXPECT_EQ(all->rows, 2);  // no line break behind the last one is needed
  EXPECT_THAT(DescribeShard(Write("b.json", "[{}, {"), dir_.path())->damage,
              HasSubstr("the row that begins in line 1 does not end"));
  EXPECT_THAT(DescribeShard(Write("b.json", "[{}"), dir_.path())->damage,
              HasSubstr("the list does not end"));
}

// A last row without a line break is not cut because it has what Python writes, or is bad.
TEST_F(ShardsTest, ALastRowThatIsWholeIsNoDamage) {
  const std::string deep = std::string(40, '[') + std::string(40, ']');
  for (const std::string& row :
       {std::string(R"({"score": NaN, "most": -Infinity})"), R"({"meta": )" + deep + "}",
        std::string(R"({"id": "}\\\"{["})"), std::string(R"({"id": "a",})"),
        std::string("{\"id\": \"caf\xe9\"}")}) {
    const auto shard = DescribeShard(Write("a.jsonl", "{}\n" + row), dir_.path());
    ASSERT_TRUE(shard.ok()) << shard.status();
    EXPECT_EQ(shard->damage, "") << row;
    EXPECT_EQ(shard->rows, 2) << row;
  }
}

}  // namespace
}  // namespace llava::training
