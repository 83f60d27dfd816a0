#include "training/data/row.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

constexpr char kGood[] =
    R"({"id": "7", "image": "coco/a.jpg", "extra": 1, "conversations": [
        {"from": "human", "value": "What is it?\n<image>"}, {"from": "gpt", "value": "A cat."}]})";

RowIssue IssueOf(std::string_view json) {
  const auto parsed = ParseRow(json);
  const RowIssue* issue = std::get_if<RowIssue>(&parsed);
  EXPECT_NE(issue, nullptr) << json;
  return issue == nullptr ? RowIssue() : *issue;
}

TEST(RowTest, ReadsWhatTheReferenceReads) {
  const auto parsed = ParseRow(kGood);
  const Row& row = std::get<Row>(parsed);
  EXPECT_EQ(row.id, "7");
  EXPECT_THAT(row.images, testing::ElementsAre("coco/a.jpg"));
  EXPECT_THAT(row.turns, testing::ElementsAre(Turn{Speaker::kHuman, "What is it?\n<image>"},
                                              Turn{Speaker::kGpt, "A cat."}));
  EXPECT_EQ(CountWords(row), 6);
}

TEST(RowTest, TakesTextOnlySeveralImagesNumbersAsIdAndALeadingAnswer) {
  const auto text = ParseRow(R"({"id": 12, "conversations": [{"from":"gpt","value":"dropped"},
      {"from":"human","value":"write <image>"},{"from":"gpt","value":"<image>"}]})");
  EXPECT_EQ(std::get<Row>(text).id, "12");
  EXPECT_EQ(std::get<Row>(text).turns.size(), 2u);
  const auto several = ParseRow(R"({"image": ["a.png", "b.png"], "conversations": [
      {"from":"human","value":"<image> and <image>"},{"from":"gpt","value":"two"}]})");
  EXPECT_THAT(std::get<Row>(several).images, testing::ElementsAre("a.png", "b.png"));
}

TEST(RowTest, NamesTheFieldThatIsWrong) {
  const struct {
    const char* json;
    const char* field;
    const char* why;
  } cases[] = {
      {R"({"id": "x")", "", "not valid JSON"},
      {"[1]", "", "expected an object"},
      {R"({"id": [1]})", "id", "expected a string or an integer"},
      {R"({"image": 3})", "image", "expected a path"},
      {R"({"image": "../up.png"})", "image", "inside the images folder"},
      {R"({"image": "/etc/passwd"})", "image", "inside the images folder"},
      {R"({"image": ["a.png", "a/../../b"]})", "image[1]", "inside the images folder"},
      {R"({"id": "x"})", "conversations", "missing"},
      {R"({"conversations": []})", "conversations", "no turn of the human"},
      {R"({"conversations": [4]})", "conversations[0]", "expected an object"},
      {R"({"conversations": [{"from": "robot", "value": "a"}]})", "conversations[0].from", "robot"},
      {R"({"conversations": [{"from": "human", "value": ""}]})", "conversations[0].value", "empty"},
      {R"({"conversations": [{"from": "human", "value": "a"}]})", "conversations", "ends with"},
      {R"({"conversations": [{"from": "human", "value": "a"},{"from":"human","value":"b"}]})",
       "conversations[1].from", "twice"},
      {R"({"image":"a.png","conversations":[
          {"from":"human","value":"a"},{"from":"gpt","value":"b"}]})",
       "conversations", "0 <image> for 1 pictures"},
      {R"({"image":"a.png","conversations":[{"from":"human","value":"<image>"},
          {"from":"gpt","value":"<image>"}]})",
       "conversations", "in a turn of gpt"},
  };
  for (const auto& c : cases) {
    const RowIssue issue = IssueOf(c.json);
    EXPECT_EQ(issue.field, c.field) << c.json;
    EXPECT_THAT(issue.why, HasSubstr(c.why)) << c.json;
  }
}

TEST(RowTest, KeepsTheIdOfABadRow) {
  RowIssue issue = IssueOf(R"({"id": "42", "image": 1})");
  issue.file = "d.json";
  issue.line = 9;
  EXPECT_EQ(issue.ToString(), "d.json:9: row '42': image is 1, expected a path");
}

TEST(RowTest, RefusesDepthAndInvalidUtf8) {
  EXPECT_THAT(IssueOf(std::string(100, '[')).why, HasSubstr("not valid JSON"));
  EXPECT_THAT(IssueOf("{\"id\": \"\xff\"}").why, HasSubstr("not valid JSON"));
}

}  // namespace
}  // namespace llava::training
