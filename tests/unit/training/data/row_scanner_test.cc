#include "training/data/row_scanner.h"

#include <string>
#include <vector>

#include "base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "training/data/row.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;

struct Scanned {
  std::vector<std::string> rows;
  std::vector<RowPlace> places;
  absl::Status status;
};

Scanned Scan(const std::string& text) {
  Scanned scanned;
  RowScanner scanner([&](const RowPlace& place, std::string_view bytes) {
    scanned.rows.emplace_back(bytes);
    scanned.places.push_back(place);
    return absl::OkStatus();
  });
  scanned.status = scanner.Feed(text);
  if (scanned.status.ok()) scanned.status = scanner.Finish();
  return scanned;
}

std::string ErrorOf(const std::string& text) {
  const absl::Status status = Scan(text).status;
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(status.message());
}

TEST(RowScannerTest, RowsOfAListEndWhereTheirBracketsDo) {
  const Scanned list = Scan(R"([{"a": [1, {"b": 2}]}, {"c": "]}\"},"} , [3], "x,y", 7, null])");
  ASSERT_TRUE(list.status.ok()) << list.status;
  EXPECT_THAT(list.rows, ElementsAre(R"({"a": [1, {"b": 2}]})", R"({"c": "]}\"},"})", "[3]",
                                     "\"x,y\"", "7", "null"));
}

TEST(RowScannerTest, ARowOfJsonlIsALineWhateverIsInIt) {
  const Scanned lines = Scan("{\"a\": [\n\n  {\"b\": \"}\n7, 8\n{}");
  ASSERT_TRUE(lines.status.ok()) << lines.status;
  EXPECT_THAT(lines.rows, ElementsAre("{\"a\": [", "{\"b\": \"}", "7, 8", "{}"));
}

TEST(RowScannerTest, PlacesAreOfBytesAndLines) {
  const std::string text = "\xEF\xBB\xBF \n[\n{},\n\n  {\"a\":\n1}]\n";
  const Scanned scanned = Scan(text);
  ASSERT_TRUE(scanned.status.ok()) << scanned.status;
  ASSERT_EQ(scanned.places.size(), 2u);
  EXPECT_EQ(scanned.places[0].line, 3);
  EXPECT_EQ(scanned.places[1].line, 5);
  for (std::size_t i = 0; i < scanned.rows.size(); ++i) {
    EXPECT_EQ(text.substr(scanned.places[i].offset, scanned.places[i].size), scanned.rows[i]);
  }
}

TEST(RowScannerTest, AnEmptyListHasNoRows) {
  const Scanned scanned = Scan(" [ ] ");
  EXPECT_TRUE(scanned.status.ok()) << scanned.status;
  EXPECT_TRUE(scanned.rows.empty());
}

TEST(RowScannerTest, NamesTheLineAndWhatWasExpected) {
  EXPECT_EQ(ErrorOf(""), "line 1: is empty, expected a JSON list or JSONL");
  EXPECT_EQ(ErrorOf("\n x"),
            "line 2: begins with 'x', expected a JSON list or one JSON object a line");
  EXPECT_EQ(ErrorOf("[{}\n{}]"), "line 2: expected ',' or ']' behind a row");
  EXPECT_EQ(ErrorOf("[{}]\n\n{}"), "line 3: there is something behind the end of the list");
  EXPECT_EQ(ErrorOf("[{}"), "line 1: the list does not end, expected ']'");
  EXPECT_EQ(ErrorOf("[{},\n{\"a\":\n"), "line 3: the row that begins in line 2 does not end");
}

// The row is passed over without being held; those behind it come as ever.
TEST(RowScannerTest, ARowThatIsTooLargeComesWithoutItsBytes) {
  const std::string largest = "{\"" + std::string(kMaxRowBytes - 4, 'x') + "\"}";
  const Scanned scanned = Scan(largest + "\n" + largest + " \n{}\n");
  ASSERT_TRUE(scanned.status.ok()) << scanned.status;
  ASSERT_EQ(scanned.rows.size(), 3u);
  EXPECT_TRUE(scanned.rows[0] == largest);
  EXPECT_EQ(scanned.rows[1], "");
  EXPECT_EQ(scanned.places[1].size, kMaxRowBytes + 1);
  EXPECT_EQ(scanned.rows[2], "{}");
}

TEST(RowScannerTest, WhatTheCallerReturnsEndsTheScan) {
  int rows = 0;
  RowScanner scanner([&](const RowPlace&, std::string_view) {
    ++rows;
    return absl::CancelledError("enough");
  });
  EXPECT_EQ(scanner.Feed("[{}, {}]"), absl::CancelledError("enough"));
  EXPECT_EQ(rows, 1);
}

// Whatever the pieces in which the file arrives, the rows are the same.
TEST(RowScannerTest, SplitsAnywhere) {
  const std::string text = R"([{"id": 1, "a": "b c"} , {"a\"]}": ["}", {}]},[1,[2]],null])";
  const auto scan = [&](Rng* rng) {
    std::vector<std::string> rows;
    RowScanner scanner([&](const RowPlace& place, std::string_view bytes) {
      EXPECT_EQ(text.substr(place.offset, place.size), bytes);
      rows.emplace_back(bytes);
      return absl::OkStatus();
    });
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t size = rng == nullptr ? text.size() : rng->Below(9);
      EXPECT_TRUE(scanner.Feed(std::string_view(text).substr(at, size)).ok());
      at += size;
    }
    EXPECT_TRUE(scanner.Finish().ok());
    return rows;
  };
  const std::vector<std::string> whole = scan(nullptr);
  ASSERT_EQ(whole.size(), 4u);
  EXPECT_EQ(whole[3], "null");
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Rng rng(seed);
    EXPECT_EQ(scan(&rng), whole) << "seed " << seed;
  }
}

}  // namespace
}  // namespace llava::training
