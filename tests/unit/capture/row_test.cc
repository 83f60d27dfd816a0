#include "capture/row.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <string>
#include <vector>

#include "tests/support/captured_row.h"

namespace llava::capture {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<Digest> DigestsOf(const Row& row) {
  std::vector<Digest> digests;
  for (const std::string& picture : row.pictures) digests.push_back(Sha256Of(picture));
  return digests;
}

TEST(RowTest, IsOneOfLlava) {
  Row row = test::CapturedPicture("ann", "r1", "\xff\xd8\xff picture");
  row.system = "Be brief.";
  row.said = {"<image>\nWhat is it?", "A cat.", "And now?", "Still \"one\"."};
  row.sampling.temperature = 0.5;
  row.sampling.seed = 7;
  const std::string line = RowLine(row, 3, DigestsOf(row));
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const boost::json::value read = boost::json::parse(line);
  const std::string hex = Sha256Of(row.pictures[0]).Hex();
  EXPECT_EQ(read.at("id").as_string(), "r1");
  EXPECT_EQ(boost::json::serialize(read.at("image")), "[\"" + hex + ".jpg\"]");
  EXPECT_EQ(read.at("conversations"),
            boost::json::parse(R"([{"from": "system", "value": "Be brief."},
      {"from": "human", "value": "<image>\nWhat is it?"},
      {"from": "gpt", "value": "A cat.", "weight": 0},
      {"from": "human", "value": "And now?"}, {"from": "gpt", "value": "Still \"one\"."}])"));
  const boost::json::value& about = read.at("capture");
  EXPECT_EQ(boost::json::serialize(about.at("digests")), "[\"" + hex + "\"]");
  EXPECT_EQ(about.at("version").as_string(), row.version);
  EXPECT_EQ(about.at("sampling").at("temperature").as_double(), 0.5);
  EXPECT_EQ(about.at("sampling").at("seed").to_number<int>(), 7);
  EXPECT_EQ(about.at("tenant").as_string(), "ann");
}

TEST(RowTest, TheHeadIsReadAgain) {
  const Row row = test::CapturedPicture("ann", "r1", "\x89PNG picture");
  const auto head = ParseRowHead(RowLine(row, 3, DigestsOf(row)));
  ASSERT_TRUE(head.ok()) << head.status();
  EXPECT_EQ(head->number, 3);
  EXPECT_EQ(head->id, "r1");
  EXPECT_EQ(head->tenant, "ann");
  EXPECT_EQ(head->finish, "stop");
  EXPECT_EQ(head->conversation, ConversationOf(row, DigestsOf(row)));
  EXPECT_THAT(head->pictures, ElementsAre(Sha256Of(row.pictures[0]).Hex() + ".png"));
}

TEST(RowTest, AnotherAnswerTakesThePlaceOfTheLast) {
  const Row row = test::CapturedRow("ann", "r1", "Why?", "Because.");
  const auto line = WithAnswer(RowLine(row, 0, {}), "It \"is\" so.");
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(*line, HasSubstr(R"("It \"is\" so.")"));
  EXPECT_THAT(*line, Not(HasSubstr("Because.")));
  EXPECT_EQ(ParseRowHead(*line)->id, "r1");
}

TEST(RowTest, AConversationIsItsTenantAndItsBeginning) {
  const Row first = test::CapturedPicture("ann", "r1", "one");
  Row later = test::CapturedPicture("ann", "r2", "one");
  later.said = {first.said[0], first.said[1], "And?", "That is all."};
  EXPECT_EQ(ConversationOf(first, DigestsOf(first)), ConversationOf(later, DigestsOf(later)));
  const Row other_picture = test::CapturedPicture("ann", "r1", "two");
  EXPECT_NE(ConversationOf(first, DigestsOf(first)),
            ConversationOf(other_picture, DigestsOf(other_picture)));
  const Row other_tenant = test::CapturedPicture("bob", "r1", "one");
  EXPECT_NE(ConversationOf(first, DigestsOf(first)),
            ConversationOf(other_tenant, DigestsOf(other_tenant)));
}

TEST(RowTest, MarksAreFound) {
  EXPECT_TRUE(HasMark("what does <image> mean?"));
  EXPECT_TRUE(HasMark("<video>"));
  EXPECT_FALSE(HasMark("an image"));
}

TEST(RowTest, WhatIsNoRowIsNamed) {
  EXPECT_THAT(ParseRowHead("[]").status().message(), HasSubstr("expected an object"));
  EXPECT_THAT(ParseRowHead(R"({"id": "a"})").status().message(), HasSubstr("capture: expected"));
  EXPECT_THAT(ParseRowHead(R"({"id": "a", "capture": {"row": "x"}})").status().message(),
              HasSubstr("capture.row: expected"));
  EXPECT_FALSE(WithAnswer(R"({"conversations": []})", "x").ok());
}

}  // namespace
}  // namespace llava::capture
