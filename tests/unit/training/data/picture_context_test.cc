#include "training/data/picture_context.h"

#include <boost/json/parse.hpp>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::training {
namespace {

absl::StatusOr<PictureContext> Parse(const char* text) {
  return ParsePictureContext(boost::json::parse(text).as_object(), "file:1");
}

TEST(PictureContextTest, NumbersArePrintedAsPythonDoes) {
  for (const auto& [value, text] : {std::pair(0.63, "0.63"),
                                    {1.0, "1.0"},
                                    {0.0, "0.0"},
                                    {0.001, "0.001"},
                                    {0.0001, "0.0001"},
                                    {0.00001, "1e-05"},
                                    {-2.5, "-2.5"},
                                    {123456.0, "123456.0"},
                                    {1e16, "1e+16"},
                                    {1234567890123456.0, "1234567890123456.0"},
                                    {0.1 + 0.2, "0.30000000000000004"}}) {
    EXPECT_EQ(PythonNumber(value), text);
  }
}

TEST(PictureContextTest, CaptionsAndBoxesAreLines) {
  const auto context = Parse(R"({"id": "7", "image": "7.jpg", "captions": ["A.", "B."],
      "instances": [{"category": "dog", "bbox": [0.37, 0.584, 0, 1.0]}]})");
  ASSERT_TRUE(context.ok()) << context.status();
  EXPECT_EQ(CaptionText(*context), "A.\nB.");
  EXPECT_EQ(BoxText(*context), "dog: [0.37, 0.584, 0, 1.0]");
  const auto wild = Parse(R"({"image": "7.jpg", "caption": "One text."})");
  ASSERT_TRUE(wild.ok()) << wild.status();
  EXPECT_EQ(wild->id, "7.jpg");
  EXPECT_EQ(CaptionText(*wild), "One text.");
  EXPECT_EQ(BoxText(*wild), "");
}

TEST(PictureContextTest, NumbersWithThreeDecimalsStayWhatTheyAre) {
  for (int i = 0; i <= 1000; ++i) {
    char text[16];
    std::snprintf(text, sizeof(text), "%.3f", i / 1000.0);
    const std::string json = std::string(R"({"image": "x", "captions": [], "instances": [)") +
                             R"({"category": "c", "bbox": [)" + text + "]}]}";
    std::string expected = text;
    while (expected.back() == '0' && expected[expected.size() - 2] != '.') expected.pop_back();
    EXPECT_EQ(BoxText(*Parse(json.c_str())), "c: [" + expected + "]");
  }
}

TEST(PictureContextTest, WhatIsWrongIsNamed) {
  for (const char* wrong :
       {R"({"captions": []})", R"({"image": "x"})", R"({"image": "x", "captions": [1]})",
        R"({"image": "x", "captions": [], "instances": [{"bbox": []}]})",
        R"({"image": "x", "captions": [], "instances": [{"category": "c", "bbox": ["1"]}]})"}) {
    const absl::Status status = Parse(wrong).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << wrong;
    EXPECT_EQ(status.message().find("file:1: "), 0u) << status;
  }
}

}  // namespace
}  // namespace llava::training
