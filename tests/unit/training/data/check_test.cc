#include "training/data/check.h"

#include <fstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/family_folder.h"
#include "tests/support/tar_writer.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

constexpr char kCheckpoint[] = "tests/golden/data/checkpoint";
constexpr char kImages[] = "tests/golden/data/images";

class CheckTest : public ::testing::Test {
 protected:
  CheckTest() {
    options_.files = {dir_.path() + "/d.jsonl"};
    std::ofstream file(options_.files[0]);
    const auto row = [&](int id, const char* image, const char* question, const char* answer) {
      file << R"({"id":")" << id << R"(",)" << image
           << R"("conversations":[{"from":"human","value":")" << question
           << R"("},{"from":"gpt","value":")" << answer << R"("}]})" << "\n";
    };
    row(1, R"("image":"gray.png",)", R"(<image>\nq)", "an answer");
    row(2, "", "q", "a");
    file << R"({"id":"3","conversations":[{"from":"robot","value":"q"}]})" << "\n";
    row(4, R"("image":"none.png",)", "<image>", "a");
    row(5, R"("image":"broken.png",)", "<image>", "a");
    row(6, "", "q", "a </s> b");
  }

  CheckReport Check() {
    lines_.clear();
    const auto report =
        CheckData(options_, [this](const std::string& line) { lines_.push_back(line); });
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : CheckReport();
  }

  test::TempDir dir_;
  CheckOptions options_;
  std::vector<std::string> lines_;
};

TEST_F(CheckTest, KnowsThatNothingWouldBeLearned) {
  options_.checkpoint = kCheckpoint;
  EXPECT_FALSE(Check().teaches_nothing());
  options_.max_length = 4;  // within every prompt
  const CheckReport report = Check();
  EXPECT_TRUE(report.teaches_nothing());
  EXPECT_EQ(report.masked, report.rows - report.bad);
}

TEST_F(CheckTest, WithoutImagesOnlyTheRowsCount) {
  const CheckReport report = Check();
  EXPECT_EQ(report.rows, 6);
  EXPECT_EQ(report.bad, 1);
  EXPECT_EQ(report.images, 3);
  EXPECT_EQ(report.text_only, 2);
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_THAT(lines_[0], HasSubstr("d.jsonl:3: row '3': conversations[0].from is \"robot\""));
}

TEST_F(CheckTest, LooksAtImages) {
  std::ofstream(dir_.path() + "/broken.png") << "not a picture";
  std::filesystem::copy(absl::StrCat(kImages, "/gray.png"), absl::StrCat(dir_.path(), "/gray.png"));
  options_.images_dir = dir_.path();
  const CheckReport report = Check();
  EXPECT_EQ(report.bad, 3);
  EXPECT_DOUBLE_EQ(report.bad_share(), 0.5);
  ASSERT_EQ(lines_.size(), 3u);
  EXPECT_THAT(lines_[1], HasSubstr("d.jsonl:4: row '4': image is 'none.png'"));
  EXPECT_THAT(lines_[2], HasSubstr("d.jsonl:5: row '5': image broken.png"));
}

TEST_F(CheckTest, CountsTokensAndNamesMaskedRows) {
  options_.checkpoint = kCheckpoint;
  CheckReport report = Check();
  EXPECT_EQ(report.bad, 1);
  EXPECT_EQ(report.masked, 1);
  EXPECT_GT(report.tokens, 3 * 16);
  EXPECT_GT(report.label_tokens, 4);
  ASSERT_EQ(lines_.size(), 2u);
  EXPECT_THAT(lines_[1], HasSubstr("row '6': every label is masked"));
  EXPECT_THAT(ToText(report, true), HasSubstr("masked      1 rows"));
  EXPECT_THAT(ToText(report, false), Not(HasSubstr("masked")));
  options_.max_length = 20;
  report = Check();
  EXPECT_EQ(report.truncated, 5);
  EXPECT_EQ(report.masked, 5);
}

// A row with two pictures and two with one, of which the last is cut.
TEST(CheckTilesTest, CountsTheTokensOfEveryTile) {
  const test::FamilyFolder folder("next_mistral");
  const test::TempDir dir;
  CheckOptions options{
      .files = {dir.path() + "/d.json"}, .checkpoint = folder.path(), .chat_template = "plain"};
  std::ofstream(options.files[0])
      << R"([{"id": "1", "image": ["portrait.png", "panorama.png"], "conversations": [)"
      << R"({"from": "human", "value": "<image><image>"}, {"from": "gpt", "value": "a"}]},)"
      << R"({"id": "2", "image": "line.png", "conversations": [)"
      << R"({"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a"}]}])";
  std::vector<std::string> lines;
  const auto check = [&] {
    lines.clear();
    return CheckData(options, [&](const std::string& line) { lines.push_back(line); });
  };
  EXPECT_EQ(check().status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(check().status().message()), HasSubstr("(--images)"));
  options.images_dir = test::kFamilyImages;
  const auto whole = check();
  ASSERT_TRUE(whole.ok()) << whole.status();
  // What transformers gives these pictures, and BOS, caption and line end around them.
  const std::int64_t around = whole->longest - (56 + 42);
  EXPECT_GE(around, 3);
  EXPECT_EQ(whole->tokens, 56 + 42 + 24 + 2 * around);
  EXPECT_EQ(whole->cut_images, 0);
  EXPECT_TRUE(lines.empty());
  options.max_length = 60;
  const auto cut = check();
  ASSERT_TRUE(cut.ok()) << cut.status();
  EXPECT_EQ(cut->truncated, 1);
  EXPECT_EQ(cut->cut_images, 1);
  EXPECT_EQ(cut->masked, 1);
  EXPECT_THAT(lines,
              testing::Contains(HasSubstr("row '1': is cut at 60 tokens, inside a picture of 42")));
  EXPECT_THAT(ToText(*cut, true), HasSubstr("truncated   1 rows, 1 of them inside a picture"));
}

TEST_F(CheckTest, SaysWhatCannotBeReadAtAll) {
  const auto ignore = [](const std::string&) {};
  options_.checkpoint = "/none";
  EXPECT_EQ(CheckData(options_, ignore).status().code(), absl::StatusCode::kNotFound);
  options_.checkpoint = "";
  options_.files = {"/none"};
  EXPECT_EQ(CheckData(options_, ignore).status().code(), absl::StatusCode::kNotFound);
}

// No folder is needed for the pictures of tars; a pattern stands for several.
TEST_F(CheckTest, LooksAtThePicturesOfTars) {
  std::ifstream gray(absl::StrCat(kImages, "/gray.png"), std::ios::binary);
  const std::string picture((std::istreambuf_iterator<char>(gray)), {});
  for (const char* name : {"/s-0.tar", "/s-1.tar"}) {
    std::ofstream(dir_.path() + name, std::ios::binary)
        << test::TarMember("0.txt", "a caption") << test::TarMember("0.png", picture)
        << test::TarMember("1.txt", "another") << test::TarMember("1.png", "no picture")
        << test::TarEnd();
  }
  options_.files = {dir_.path() + "/s-{0..1}.tar"};
  CheckReport report = Check();
  EXPECT_EQ(report.rows, 4);
  EXPECT_EQ(report.bad, 2);
  EXPECT_EQ(report.images, 2);
  ASSERT_EQ(lines_.size(), 2u);
  EXPECT_THAT(lines_[1], HasSubstr("s-1.tar: 1.txt: row '1': image "));
  options_.checkpoint = kCheckpoint;
  options_.chat_template = "plain";
  report = Check();
  EXPECT_EQ(report.bad, 2);
  EXPECT_GT(report.tokens, 2 * 16);
}

}  // namespace
}  // namespace llava::training
