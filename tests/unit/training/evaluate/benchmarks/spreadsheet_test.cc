#include "training/evaluate/benchmarks/spreadsheet.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::training {
namespace {

using testing::HasSubstr;

TEST(Spreadsheet, IsAZipOfXml) {
  const std::string file =
      SpreadsheetFile({{"index", "text"}, {"12", "a < b & \"c\"\x01"}, {"", "012"}});
  EXPECT_EQ(file.substr(0, 4), "PK\x03\x04");
  EXPECT_THAT(file, HasSubstr("<c><v>12</v></c>"));
  EXPECT_THAT(file, HasSubstr(">a &lt; b &amp; \"c\"</t>"));
  EXPECT_THAT(file, HasSubstr("<row><c/><c t=\"inlineStr\"><is><t xml:space=\"preserve\">012</t>"));
  EXPECT_EQ(file.substr(file.size() - 22, 4), "PK\x05\x06");
  EXPECT_EQ(file[file.size() - 12], 5);  // entries
}

}  // namespace
}  // namespace llava::training
