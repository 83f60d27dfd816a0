#include "training/report/run_history.h"

#include <fstream>

#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

TEST(RunHistoryTest, StepsAndValidationsAreToldApart) {
  const test::TempDir dir;
  const std::string file = dir.path() + "/metrics.jsonl";
  std::ofstream(file)
      << R"({"stage": "tune", "total_step": 1, "loss": 2.5, "grad_norm": 1}
{"stage": "tune", "total_step": 2, "validation_loss": 2.25, "samples_asked": [
{"stage": "tune", "total_step": 2, "validation_loss": 2.0, "samples_asked": [)"
         R"({"images": ["a.png"], "question": "q", "expected": "e", "answer": "a", "right": true}]}
{"stage": "tune", "total_step": 3, "validation_loss": 1.5, "samples_asked": []}
[7]
{"loss": 1}
{"stage": "tune", "total_step": 4, "lo)";
  const RunHistory history = ReadRunHistory(file);
  ASSERT_EQ(history.steps.size(), 1u);
  EXPECT_EQ(history.steps[0].stage, "tune");
  EXPECT_EQ(history.steps[0].step, 1);
  EXPECT_EQ(history.steps[0].values.at("grad_norm"), 1);
  ASSERT_EQ(history.validations.size(), 2u);
  EXPECT_EQ(history.validations[1].values.at("validation_loss"), 1.5);
  ASSERT_EQ(history.samples.size(), 1u);  // those of the last validation that has any
  EXPECT_EQ(history.samples[0].images, std::vector<std::string>{"a.png"});
  EXPECT_TRUE(history.samples[0].right);
  EXPECT_EQ(history.samples_step, 2);
}

TEST(RunHistoryTest, WithoutAFileThereIsNone) {
  EXPECT_TRUE(ReadRunHistory("/no/such/file").steps.empty());
}

}  // namespace
}  // namespace llava::training
