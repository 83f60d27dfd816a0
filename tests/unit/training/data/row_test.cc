#include "training/data/row.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
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
  EXPECT_THAT(row.images, ElementsAre("coco/a.jpg"));
  EXPECT_THAT(row.turns, ElementsAre(Turn{Speaker::kHuman, "What is it?\n<image>"},
                                     Turn{Speaker::kGpt, "A cat."}));
  EXPECT_EQ(CountWords(row), 6);
}

TEST(RowTest, TakesTextOnlySeveralImagesNumbersAsIdAndALeadingAnswer) {
  const auto text = ParseRow(R"({"id": 12, "conversations": [{"from":"gpt","value":"dropped"},
      {"from":"human","value":"write <video> in HTML"},{"from":"gpt","value":"<video>"}]})");
  EXPECT_EQ(std::get<Row>(text).id, "12");
  EXPECT_EQ(std::get<Row>(text).turns.size(), 2u);
  const auto several = ParseRow(R"({"image": ["a.png", "b.png"], "conversations": [
      {"from":"human","value":"<image> and <image>"},{"from":"gpt","value":"two"}]})");
  EXPECT_THAT(std::get<Row>(several).images, ElementsAre("a.png", "b.png"));
}

TEST(RowTest, NamesTheFieldThatIsWrong) {
  const struct {
    const char* json;
    const char* field;
    const char* why;
  } cases[] = {
      {R"({"id": "x")", "", "not valid JSON"},
      {"[1]", "", "expected an object"},
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

TEST(RowTest, ReadsMessages) {
  const auto parsed = ParseRow(R"({"id": "m", "messages": [
      {"role": "system", "content": "Be brief."},
      {"role": "user", "content": [{"type": "image", "image": "a.png"},
                                   {"type": "text", "text": "What?"},
                                   {"type": "text", "text": "Sure?"},
                                   {"type": "image_url", "image_url": {"url": "b.png"}}]},
      {"role": "assistant", "content": "A cat."},
      {"role": "user", "content": "Why?"},
      {"role": "assistant", "content": [{"type": "text", "text": "Whiskers."}]}]})");
  ASSERT_TRUE(std::holds_alternative<Row>(parsed)) << std::get<RowIssue>(parsed).ToString();
  const Row& row = std::get<Row>(parsed);
  EXPECT_EQ(row.system, "Be brief.");
  EXPECT_THAT(row.images, ElementsAre("a.png", "b.png"));
  EXPECT_THAT(row.turns, ElementsAre(Turn{Speaker::kHuman, "<image>\nWhat?\nSure?\n<image>\n"},
                                     Turn{Speaker::kGpt, "A cat."}, Turn{Speaker::kHuman, "Why?"},
                                     Turn{Speaker::kGpt, "Whiskers."}));
}

TEST(RowTest, ASystemTurnComesFirst) {
  const auto parsed = ParseRow(R"({"conversations": [{"from": "system", "value": "Be brief."},
      {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]})");
  EXPECT_EQ(std::get<Row>(parsed).system, "Be brief.");
  EXPECT_EQ(std::get<Row>(parsed).turns.size(), 2u);
}

// As OpenAI's fine-tuning: an answer of weight 0 is said, and nothing is learned from it.
TEST(RowTest, AnAnswerOfWeight0IsNotLearned) {
  for (const char* json : {R"({"messages": [{"role": "user", "content": "a", "weight": 0},
            {"role": "assistant", "content": "b", "weight": 0}, {"role": "user", "content": "c"},
            {"role": "assistant", "content": "d", "weight": 1}]})",
                           R"({"conversations": [{"from": "human", "value": "a"},
            {"from": "gpt", "value": "b", "weight": 0.0}, {"from": "human", "value": "c"},
            {"from": "gpt", "value": "d", "weight": null}]})"}) {
    const auto parsed = ParseRow(json);
    ASSERT_TRUE(std::holds_alternative<Row>(parsed)) << std::get<RowIssue>(parsed).ToString();
    const Row& row = std::get<Row>(parsed);
    ASSERT_EQ(row.turns.size(), 4u);
    EXPECT_FALSE(row.turns[1].is_learned);
    EXPECT_TRUE(row.turns[3].is_learned);
  }
}

TEST(RowTest, NamesWhatIsWrongWithAMessage) {
  const struct {
    const char* json;
    const char* field;
    const char* why;
  } cases[] = {
      {R"({"messages": 1})", "messages", "expected a list"},
      {R"({"messages": [{"role": "tool", "content": "a"}]})", "messages[0].role", "user"},
      {R"({"messages": [{"role": "user", "content": []}]})", "messages[0].content", "empty"},
      {R"({"messages": [{"role": "user", "content": [{"type": "video", "video": "a"}]}]})",
       "messages[0].content[0]", "expected a part of type"},
      {R"({"messages": [{"role": "user", "content": [{"type": "image"}]}]})",
       "messages[0].content[0].image", "missing"},
      {R"({"messages": [{"role": "user", "content": [{"type": "image_url",
          "image_url": {"url": "/etc/passwd"}}]}]})",
       "messages[0].content[0].image_url", "inside the images folder"},
      {R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
          {"role": "system", "content": "c"}]})",
       "messages[2].role", "after the first turn"},
      {R"({"messages": [{"role": "user", "content": "<image>"},
          {"role": "assistant", "content": "b"}]})",
       "conversations", "1 <image> for 0 pictures"},
      {R"({"conversations": [{"from": "system", "value": "<image>"},
          {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]})",
       "conversations", "what the system says"},
      {R"({"conversations": [{"from": "human", "value": [{"type": "text", "text": "a"}]}]})",
       "conversations[0].value", "expected a text"},
      {R"({"messages": [{"role": "user", "content": "a"},
          {"role": "assistant", "content": "b", "weight": 0.5}]})",
       "messages[1].weight", "is 5E-1, expected 0 or 1"},
      {R"({"messages": [{"role": "user", "content": "a", "weight": 1},
          {"role": "assistant", "content": "b"}]})",
       "messages[0].weight", "of an answer"},
      {R"({"messages": [{"role": "user", "content": "a"},
          {"role": "assistant", "content": "b", "weight": 0}]})",
       "messages", "a weight other than 0"},
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

// Good but for what is added to the row's keys, its question and its first turn's keys.
std::string RowWith(const std::string& keys, const std::string& question,
                    const std::string& turn_keys = "") {
  return "{" + keys + R"("conversations": [{)" + turn_keys + R"("from": "human", "value": ")" +
         question + R"("}, {"from": "gpt", "value": "red"}]})";
}

TEST(RowTest, MarksWithoutAnImageAreNoText) {
  for (const char* keys : {"", R"("image": [], )", R"("image": null, )"}) {
    const RowIssue issue = IssueOf(RowWith(keys, "<image>\\nWhat colour?"));
    EXPECT_EQ(issue.field, "conversations") << keys;
    EXPECT_THAT(issue.why, HasSubstr("1 <image> for 0 pictures")) << keys;
  }
  EXPECT_THAT(IssueOf(RowWith("", "<video>\\nWhat happens?")).why, HasSubstr("<video>"));
  EXPECT_THAT(IssueOf(RowWith("", "What do you hear? \\n<audio>")).why, HasSubstr("<audio>"));
}

TEST(RowTest, MediaUnderAKeyThatNobodyReadsIsAnError) {
  for (const char* key : {"images", "video", "videos", "audio", "image_path", "imagePaths", "img",
                          "Picture", "photos", "media", "image_url", "frames", "image2"}) {
    for (const char* value : {R"("a.png")", R"(["a.png"])", R"([{"path": "a.png"}])"}) {
      const std::string pair = std::string("\"") + key + "\": " + value + ", ";
      EXPECT_EQ(IssueOf(RowWith(pair, "What?")).field, key) << value;
      EXPECT_EQ(IssueOf(RowWith("", "What?", pair)).field, std::string("conversations[0].") + key);
      EXPECT_EQ(IssueOf(RowWith(pair + R"("image": "b.png", )", "<image>")).field, key);
    }
  }
  EXPECT_THAT(IssueOf(RowWith(R"("images": ["a.png"], )", "<image>")).why,
              HasSubstr("which nobody would read"));
}

TEST(RowTest, WhatIsSaidAboutMediaIsNoMedia) {
  for (const char* pair :
       {R"("images": [], )", R"("video": null, )", R"("has_image": true, )", R"("image_id": "7", )",
        R"("image_size": [640, 480], )", R"("video_source": "web", )", R"("num_images": 0, )",
        R"("imagination": "vivid", )", R"("imageWidth": 640, )",
        R"("caption_of_picture": "x", )"}) {
    EXPECT_TRUE(std::holds_alternative<Row>(ParseRow(RowWith(pair, "What?")))) << pair;
  }
}

TEST(RowTest, WhatIsInFieldsThatNobodyReadsLosesNoRow) {
  for (const char* pair :
       {R"("id": 12.0, )", R"("id": [1], )", R"("id": NaN, )", R"("score": NaN, )",
        R"("score": [-Infinity, Infinity, NaN], )", R"("note": "NaN \"Infinity\" \\", )",
        R"("cut": "\ud83d", )", R"("cut": "\ude00\ud83d\ude00\ud83dx", )", R"("big": 1e999, )",
        R"("big": 123456789012345678901234567890, )"}) {
    EXPECT_TRUE(std::holds_alternative<Row>(ParseRow(RowWith(pair, "What?")))) << pair;
  }
  const std::string deep = R"("deep": )" + std::string(200, '[') + std::string(200, ']') + ", ";
  EXPECT_TRUE(std::holds_alternative<Row>(ParseRow(RowWith(deep, "What?"))));
  EXPECT_EQ(std::get<Row>(ParseRow(RowWith(R"("id": 12.0, )", "What?"))).id, "12");
  const auto whole = ParseRow(RowWith("", R"(NaN \ud83d\ude00 \ud83d)"));
  EXPECT_EQ(std::get<Row>(whole).turns[0].text, "NaN \xF0\x9F\x98\x80 \xEF\xBF\xBD");
}

TEST(RowTest, ASyntaxErrorHasItsPlaceInTheFile) {
  const auto why = [](std::string_view json, RowStart start) {
    return std::get<RowIssue>(ParseRow(json, start)).why;
  };
  EXPECT_THAT(why(R"({"id": x})", {.line = 7, .column = 2}), HasSubstr("line 7, column 9: "));
  EXPECT_THAT(why("{\n \"id\" 3}", {.line = 7, .column = 5}), HasSubstr("line 8, column 7: "));
  EXPECT_THAT(why(R"({"id": NaN, "x": NaM})", {}), HasSubstr("line 1, column 18: "));
}

TEST(RowTest, RefusesDepthAndInvalidUtf8) {
  EXPECT_THAT(IssueOf(std::string(1000, '[')).why, HasSubstr("not valid JSON"));
  EXPECT_THAT(IssueOf("{\"id\": \"\xff\"}").why, HasSubstr("not valid JSON"));
}

const std::vector<PictureBeside> kTwo = {{"left.png", "#1/left.png"},
                                         {"right.png", "#2/right.png"}};

TEST(RowTest, PicturesThatLieBesideARowAreItsImages) {
  const auto images = [](const std::string& keys, const std::string& question,
                         const std::vector<PictureBeside>& beside) {
    return std::get<Row>(ParseRow(RowWith(keys, question), beside)).images;
  };
  EXPECT_THAT(images("", "<image>\\n<image>\\nWhat?", kTwo),
              ElementsAre("#1/left.png", "#2/right.png"));
  EXPECT_THAT(images(R"("image": ["a/right.png", "a/left.png"], )", "<image><image>", kTwo),
              ElementsAre("#2/right.png", "#1/left.png"));
  EXPECT_THAT(images(R"("image": "coco/other.jpg", )", "<image>", {kTwo[0]}),
              ElementsAre("#1/left.png"));
  EXPECT_THAT(images("", "What?", {}), ElementsAre());
}

TEST(RowTest, NamesPicturesThatDoNotLieBesideTheRow) {
  const auto issue = [](const std::string& keys, const std::string& question,
                        const std::vector<PictureBeside>& beside) {
    return std::get<RowIssue>(ParseRow(RowWith(keys, question), beside)).why;
  };
  EXPECT_THAT(issue(R"("image": ["a.png", "left.png"], )", "<image><image>", kTwo),
              HasSubstr("names a.png, which does not lie beside the row"));
  EXPECT_THAT(issue(R"("image": "a.png", )", "<image>", {}),
              HasSubstr("names 1 pictures, but 0 lie beside the row"));
  EXPECT_THAT(issue("", "What?", kTwo), HasSubstr("has 0 <image> for 2 pictures"));
}

TEST(RowTest, ACaptionIsTheAnswerToItsPictures) {
  const Row row = std::get<Row>(CaptionRow("7", " a cat \n", kTwo));
  EXPECT_EQ(row.id, "7");
  EXPECT_THAT(row.images, ElementsAre("#1/left.png", "#2/right.png"));
  EXPECT_THAT(row.turns,
              ElementsAre(Turn{Speaker::kHuman, "<image>\n<image>"}, Turn{Speaker::kGpt, "a cat"}));
  const auto why = [](std::string_view caption, const std::vector<PictureBeside>& beside) {
    return std::get<RowIssue>(CaptionRow("7", caption, beside)).why;
  };
  EXPECT_THAT(why(" \n", kTwo), HasSubstr("is empty"));
  EXPECT_THAT(why("\xff", kTwo), HasSubstr("UTF-8"));
  EXPECT_THAT(why("a cat", {}), HasSubstr("no picture"));
  EXPECT_THAT(why("an <image>", kTwo), HasSubstr("in a turn of gpt"));
}

TEST(RowTest, AnIssueOfAWholeFileHasNoLine) {
  EXPECT_EQ((RowIssue{.file = "a.tar: 0.json", .why = "is empty"}).ToString(),
            "a.tar: 0.json: is empty");
}

}  // namespace
}  // namespace llava::training
