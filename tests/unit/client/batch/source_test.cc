#include "client/batch/source.h"

#include <filesystem>
#include <fstream>
#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

class SourceTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& content) {
    const std::string path = dir_.path() + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << content;
    return path;
  }

  static std::map<std::string, BatchItem> Items(const std::string& input) {
    std::map<std::string, BatchItem> items;
    const absl::Status status = ForEachItem(input, [&](const BatchItem& item) {
      items[item.id] = item;
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    return items;
  }

  static BatchDefaults Asking(const std::string& prompt) {
    BatchDefaults defaults;
    defaults.prompt = prompt;
    return defaults;
  }

  // The error of the only row.
  std::string ErrorOf(const std::string& line) {
    const std::string path = Write("rows.jsonl", line + "\n");
    return std::string(
        RequestOf(Items(path).begin()->second, path, Asking("p")).status().message());
  }

  test::TempDir dir_;
};

TEST_F(SourceTest, AFolderIsItsPicturesAtAnyDepth) {
  Write("a.JPG", "A");
  Write("deep/er/b.png", "B");
  Write("notes.txt", "no");
  const auto items = Items(dir_.path());
  ASSERT_EQ(items.size(), 2u);
  const BatchItem& deep = items.at("deep/er/b.png");
  const auto request = RequestOf(deep, dir_.path(), Asking("What?"));
  ASSERT_TRUE(request.ok()) << request.status();
  ASSERT_EQ(request->messages_size(), 1);
  EXPECT_EQ(request->messages(0).parts(0).image(), "B");
  EXPECT_EQ(request->messages(0).parts(1).text(), "What?");
  EXPECT_THAT(std::string(RequestOf(deep, dir_.path(), {}).status().message()),
              HasSubstr("there is no prompt"));
}

TEST_F(SourceTest, APatternIsWhatItMatches) {
  const std::string one = Write("s/1.png", "x");
  Write("s/2.jpg", "y");
  EXPECT_THAT(Items(dir_.path() + "/s/*.png"), ElementsAre(Pair(one, testing::_)));
  const absl::Status none =
      ForEachItem(dir_.path() + "/*.gif", [](const BatchItem&) { return absl::OkStatus(); });
  EXPECT_EQ(none.code(), absl::StatusCode::kNotFound);
}

TEST_F(SourceTest, RowsHaveIds) {
  Write("x.png", "X");
  const std::string path = Write("rows.jsonl",
                                 "{\"id\": 7, \"image\": \"x.png\"}\n\n"
                                 "{\"image\": \"x.png\", \"prompt\": \"own\"}\n"
                                 "{\"prompt\": \"text alone\"}\n"
                                 "{\"id\": \"two\", \"images\": [\"x.png\", \"x.png\"]}\n");
  const auto items = Items(path);
  ASSERT_THAT(items, ElementsAre(Pair("7", testing::_), Pair("line 4", testing::_),
                                 Pair("two", testing::_), Pair("x.png", testing::_)));
  const auto own = RequestOf(items.at("x.png"), path, Asking("common"));
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_EQ(own->messages(0).parts(1).text(), "own");
  EXPECT_EQ(RequestOf(items.at("two"), path, Asking("p"))->messages(0).parts_size(), 3);
  EXPECT_EQ(RequestOf(items.at("line 4"), path, {})->messages(0).parts(0).text(), "text alone");
}

TEST_F(SourceTest, AByteOrderMarkIsNoPartOfTheFirstRow) {
  const std::string path =
      Write("rows.jsonl", "\xef\xbb\xbf{\"id\": 1, \"prompt\": \"p\"}\n{\"id\": 2}\n");
  const auto items = Items(path);
  ASSERT_THAT(items, ElementsAre(Pair("1", testing::_), Pair("2", testing::_)));
  EXPECT_EQ(RequestOf(items.at("1"), path, {})->messages(0).parts(0).text(), "p");
}

TEST_F(SourceTest, WhatIsWrongIsNamed) {
  EXPECT_THAT(ErrorOf(R"({"image": 5})"), HasSubstr(""));
  EXPECT_THAT(ErrorOf(R"({"id": "a", "image": "none.png"})"), HasSubstr("none.png"));
  EXPECT_THAT(ErrorOf(R"({"id": "a", "picture": "x"})"), HasSubstr("\"picture\" is not known"));
  EXPECT_THAT(ErrorOf(R"({"id": "a", "prompt": 3})"), HasSubstr("\"prompt\" is 3, expected text"));
  EXPECT_THAT(ErrorOf(R"({"id": "a", "images": "x"})"), HasSubstr("expected a list of paths"));
  const auto visit = [](const BatchItem&) { return absl::OkStatus(); };
  EXPECT_THAT(std::string(ForEachItem(Write("bad.jsonl", "{}\n[1]\n"), visit).message()),
              HasSubstr("line 2 is no JSON object"));
  EXPECT_THAT(std::string(ForEachItem(Write("bad.jsonl", "{\"id\": []}\n"), visit).message()),
              HasSubstr("line 1: \"id\" is []"));
}

}  // namespace
}  // namespace llava::client
