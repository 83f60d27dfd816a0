#include "model/text/white_space.h"

#include "gtest/gtest.h"

namespace llava::model {
namespace {

TEST(WhiteSpaceTest, StripsAsPythonDoes) {
  EXPECT_EQ(StripWhiteSpace(" \t\n\u00A0\u3000a b\u2028\x1F"), "a b");
  EXPECT_EQ(StripWhiteSpace("\u200B"), "\u200B");  // no white space in Python
  EXPECT_EQ(StripWhiteSpace(" \n"), "");
  EXPECT_EQ(StripWhiteSpace(""), "");
}

TEST(WhiteSpaceTest, OneEndAsRegularExpressionsDo) {
  EXPECT_EQ(WithoutSpaceAtStart(" \t\n\u00A0\u3000a b "), "a b ");
  EXPECT_EQ(WithoutSpaceAtEnd(" a b\u2028 \u0085"), " a b");
  EXPECT_EQ(WithoutSpaceAtStart("\x1F"
                                "a"),
            "\x1F"
            "a");  // which Python alone calls a space
  EXPECT_EQ(WithoutSpaceAtEnd("a\x1C"), "a\x1C");
  EXPECT_EQ(WithoutSpaceAtStart("  "), "");
  EXPECT_EQ(WithoutSpaceAtEnd(""), "");
}

}  // namespace
}  // namespace llava::model
