#include "training/generate/items.h"

#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/generate_plan_files.h"

namespace llava::training {
namespace {

using testing::HasSubstr;

TEST(Items, SharesOfPicturesAreKeptWhateverTheOrder) {
  test::BenchFolder folder;
  test::AddPlan(&folder, 400, "http://h/v1");
  GeneratePlan plan = *ReadGeneratePlan(folder.path() + "/plan.yaml");
  plan.kinds[0].images = 0.25;
  const auto inputs = ReadInputs(plan);
  ASSERT_TRUE(inputs.ok()) << inputs.status();
  EXPECT_GT(inputs->items.size(), 400u + 70);
  EXPECT_LT(inputs->items.size(), 400u + 130);
  plan.kinds[0].images = plan.kinds[1].images = 0;
  EXPECT_FALSE(ReadInputs(plan).ok());
}

TEST(Items, ASecondAttemptDiffersInItsSeedAlone) {
  test::BenchFolder folder;
  test::AddPlan(&folder, 1, "http://h/v1");
  const GeneratePlan plan = *ReadGeneratePlan(folder.path() + "/plan.yaml");
  const GenerateInputs inputs = *ReadInputs(plan);
  const ChatRequest first = RequestOf(plan, inputs, {0, 1}, 1);
  EXPECT_EQ(first.messages.back().text, "Number 0.\n\ncat: [0.5, 1.0]");
  EXPECT_EQ(RequestOf(plan, inputs, {0, 0}, 1).messages.back().text, "Number 0.");
  const ChatRequest second = RequestOf(plan, inputs, {0, 1}, 2);
  EXPECT_EQ(*first.seed + 1, *second.seed);
  EXPECT_EQ(ReadReply(plan, inputs, {0, 1}, "A nice cat.", true).rejected, "truncated");
  const ParsedReply detail = ReadReply(plan, inputs, {0, 1}, "A nice cat.", false);
  EXPECT_EQ(detail.rejected, "");
  EXPECT_THAT(detail.dialogue[0].first, HasSubstr("image"));
}

TEST(Items, AVisionModelSeesThePictureAndIsToldNothing) {
  test::BenchFolder folder;
  test::AddPlan(&folder, 1, "http://h/v1");
  GeneratePlan plan = *ReadGeneratePlan(folder.path() + "/plan.yaml");
  std::filesystem::create_directory(folder.path() + "/seen");
  folder.Add("seen/a.png", "one");
  plan.source = {.pictures = folder.path() + "/seen"};
  const auto inputs = ReadInputs(plan);
  ASSERT_TRUE(inputs.ok()) << inputs.status();
  const ChatRequest request = RequestOf(plan, *inputs, {0, 0}, 1);
  EXPECT_THAT(request.messages.back().images, testing::ElementsAre(folder.path() + "/seen/a.png"));
  EXPECT_TRUE(request.messages.front().images.empty());
  folder.Add("seen/a.png", "another");  // under the same name
  EXPECT_NE(ReadInputs(plan)->fingerprint, inputs->fingerprint);
}

TEST(Items, RowsAreLlavasWithTheirProvenance) {
  GeneratePlan plan;
  plan.image_prefix = "coco/";
  const PictureContext picture{"7", "7.jpg", {}, {}};
  const std::string row = RowJson(plan, picture, "conversation",
                                  {{"What?", "A dog."}, {"Where?", "There."}}, "k", "m", 2);
  EXPECT_THAT(row, HasSubstr(R"("id":"7-conversation","image":"coco/7.jpg")"));
  EXPECT_THAT(row, testing::AnyOf(HasSubstr(R"("value":"<image>\nWhat?")"),
                                  HasSubstr(R"("value":"What?\n<image>")")));
  EXPECT_THAT(row,
              HasSubstr(R"({"from":"human","value":"Where?"},{"from":"gpt","value":"There."})"));
  EXPECT_THAT(row, HasSubstr(R"("kinds":["conversation","conversation"])"));
  EXPECT_THAT(row, HasSubstr(R"("provenance":{"source_id":"7","kind":"conversation","model":"m",)"
                             R"("key":"k","attempt":2})"));
}

}  // namespace
}  // namespace llava::training
