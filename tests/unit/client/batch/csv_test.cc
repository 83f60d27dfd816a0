#include "client/batch/csv.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::client {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(CsvTest, QuotesWhatNeedsIt) {
  EXPECT_EQ(CsvRecord({"a", "", "b c"}), "a,,b c\r\n");
  EXPECT_EQ(CsvRecord({"a,b", "say \"hi\"", "two\nlines"}),
            "\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\"\r\n");
}

TEST(CsvTest, ReadsBackWhatItWrote) {
  const std::vector<std::vector<std::string>> records = {
      {"1", "a,b", "\"", "\r\n", ""}, {"", "", "", "", "x"}, {"2", "\"\"", "plain", "\n\n", "é"}};
  std::string text;
  for (const auto& record : records) text += CsvRecord(record);
  std::string_view rest = text;
  for (const auto& record : records) EXPECT_EQ(TakeCsvRecord(&rest), record);
  EXPECT_EQ(rest, "");
  EXPECT_THAT(TakeCsvRecord(&rest), IsEmpty());
}

TEST(CsvTest, ARecordThatDoesNotEndStaysThere) {
  std::string_view rest = "a,b\nc,\"d\n";
  EXPECT_THAT(TakeCsvRecord(&rest), ElementsAre("a", "b"));
  EXPECT_THAT(TakeCsvRecord(&rest), IsEmpty());
  EXPECT_EQ(rest, "c,\"d\n");
}

}  // namespace
}  // namespace llava::client
