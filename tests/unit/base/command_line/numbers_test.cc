#include "base/command_line/numbers.h"

#include <string>

#include "gtest/gtest.h"

namespace llava {
namespace {

// The error of `program --number TEXT`; "" for none.
std::string ErrorOf(const CLI::Validator& validator, const std::string& text) {
  CLI::App app;
  double number = 0.0;
  app.add_option("--number", number)->check(validator);
  try {
    app.parse("--number=" + text);
  } catch (const CLI::ParseError& error) {
    return error.what();
  }
  return "";
}

TEST(Numbers, AreRefusedWithWhatWasExpected) {
  for (const char* good : {"1", "0.25", "1e9"}) EXPECT_EQ(ErrorOf(Positive(), good), "") << good;
  EXPECT_EQ(ErrorOf(Positive(), "0"), "--number: expected a number above 0, found 0");
  EXPECT_EQ(ErrorOf(Positive(), "-5"), "--number: expected a number above 0, found -5");
  EXPECT_EQ(ErrorOf(Positive(), "few"), "--number: expected a number above 0, found few");
  EXPECT_EQ(ErrorOf(NotNegative(), "0"), "");
  EXPECT_EQ(ErrorOf(NotNegative(), "-1"), "--number: expected a number of at least 0, found -1");
  EXPECT_EQ(ErrorOf(NotNegative(), "nan"), "--number: expected a number of at least 0, found nan");
  EXPECT_EQ(ErrorOf(NoMinus(), "5"), "");
  EXPECT_EQ(ErrorOf(NoMinus(), "-5"), "--number: expected a size such as 80GiB, found -5");
}

}  // namespace
}  // namespace llava
