#include "training/generate/few_shot.h"

#include "gtest/gtest.h"
#include "tests/support/bench_folder.h"

namespace llava::training {
namespace {

TEST(FewShot, FilesAreTakenByteForByteInOrder) {
  test::BenchFolder folder;
  folder.Add("system_message.txt", "You see.  \n\n");
  folder.Add("001_caps.txt", "Two.").Add("001_conv.txt", "B");
  folder.Add("000_caps.txt", "One.\n\ntie: [0.5, 1.0]").Add("000_conv.txt", "A ");
  const auto few_shot = ReadFewShot(folder.path());
  ASSERT_TRUE(few_shot.ok()) << few_shot.status();
  const auto messages = FewShotMessages(*few_shot, "query");
  ASSERT_EQ(messages.size(), 6u);
  EXPECT_EQ(messages[0].role, "system");
  EXPECT_EQ(messages[0].text, "You see.  \n\n");
  EXPECT_EQ(messages[1].text, "One.\n\ntie: [0.5, 1.0]");
  EXPECT_EQ(messages[2].role, "assistant");
  EXPECT_EQ(messages[2].text, "A ");
  EXPECT_EQ(messages[3].text, "Two.");
  EXPECT_EQ(messages[5].role, "user");
  EXPECT_EQ(messages[5].text, "query");
  folder.Add("002_caps.txt", "x");
  EXPECT_TRUE(absl::IsNotFound(ReadFewShot(folder.path()).status()));
}

TEST(FewShot, QueriesAreCaptionsAndBoxes) {
  const PictureContext context{
      "1", "1.jpg", {"A.", "B."}, {{"cat", "[0.63, 1.0]"}, {"dog", "[0]"}}};
  EXPECT_EQ(QueryText(context, false), "A.\nB.");
  EXPECT_EQ(QueryText(context, true), "A.\nB.\n\ncat: [0.63, 1.0]\ndog: [0]");
}

}  // namespace
}  // namespace llava::training
