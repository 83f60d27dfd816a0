#include "training/objective/validation.h"

#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/training/optim/toy.h"

namespace llava::training {
namespace {

// The toy's sample of the number that a row is called.
class ToyBuilder final : public SampleBuilder {
 public:
  absl::StatusOr<std::vector<Sample>> Build(const Row& row) const override {
    std::int64_t number = 0;
    if (!absl::SimpleAtoi(row.id, &number)) return absl::InvalidArgumentError("no number");
    return std::vector<Sample>{toy::MakeSample(number)};
  }
};

class ValidationTest : public testing::Test {
 protected:
  static constexpr int kRows = 11;

  ValidationTest() {
    const std::string file = dir_.path() + "/rows.jsonl";
    std::ofstream out(file);
    for (int i = 0; i < kRows; ++i) {
      out << R"({"id": ")" << i << R"(", "conversations": [{"from": "human", "value": "q"},)"
          << R"( {"from": "gpt", "value": "a"}]})" << "\n";
    }
    out.close();
    auto dataset = InstructionDataset::Open({file}, {});
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    rows_.dataset = std::make_shared<const InstructionDataset>(*std::move(dataset));
    rows_.builder = std::make_shared<const ToyBuilder>();
    for (int i = 0; i < kRows; ++i) rows_.rows.push_back(i);
  }

  ValidationSums Sums(const ValidationPlan& plan) {
    ConversationValidation validation(*model_, rows_, plan);
    const auto sums = validation.Run([] { return false; });
    EXPECT_TRUE(sums.ok()) << sums.status();
    return *sums;
  }

  test::TempDir dir_;
  ValidationRows rows_;
  const std::unique_ptr<model::Llava> model_ = toy::Model();
};

TEST_F(ValidationTest, RanksAndBatchesAddUpToTheWhole) {
  const ValidationSums whole = Sums({.batch = 20});
  EXPECT_EQ(whole.rows, kRows);
  EXPECT_EQ(whole.targets, 2 * kRows);
  EXPECT_GT(whole.loss, 0.0);
  ValidationSums parts;
  for (std::int64_t rank = 0; rank < 3; ++rank) {
    const ValidationSums sums = Sums({.rank = rank, .ranks = 3, .batch = 2});
    parts.loss += sums.loss;
    parts.targets += sums.targets;
    parts.correct += sums.correct;
    parts.rows += sums.rows;
  }
  EXPECT_NEAR(parts.loss, whole.loss, 1e-4 * whole.loss);
  EXPECT_EQ(parts.targets, whole.targets);
  EXPECT_EQ(parts.correct, whole.correct);
  EXPECT_EQ(parts.rows, whole.rows);
}

TEST_F(ValidationTest, AgainIsTheSameBitForBit) {
  ConversationValidation validation(*model_, rows_, {.batch = 4, .cache_bytes = 1 << 20});
  const auto first = validation.Run([] { return false; });
  const auto second = validation.Run([] { return false; });
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->loss, second->loss);
}

TEST_F(ValidationTest, StopsBetweenBatches) {
  ConversationValidation validation(*model_, rows_, {.batch = 4});
  int asked = 0;
  const auto sums = validation.Run([&asked] { return ++asked == 2; });
  ASSERT_TRUE(sums.ok()) << sums.status();
  EXPECT_TRUE(sums->stopped);
  EXPECT_EQ(sums->rows, 8);
}

TEST_F(ValidationTest, LeavesNoGradients) {
  for (const auto& [name, weight] : model_->weights()) weight.requires_grad_(true);
  Sums({.batch = 4, .tower_is_frozen = false});
  for (const auto& [name, weight] : model_->weights()) {
    EXPECT_FALSE(weight.grad().defined()) << name;
  }
}

}  // namespace
}  // namespace llava::training
