// Every stage from pixel values to logits equals the reference (fp32, transformers, eager
// attention) on all recorded positions.
#include <ATen/ops/arange.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "model/attention/sdpa_attention.h"
#include "tests/golden/golden_data.h"
#include "tests/support/test_device.h"

namespace llava::model {
namespace {

constexpr double kFp32Tolerance = 1e-4;

class GoldenFp32 : public testing::TestWithParam<std::size_t> {
 protected:
  static void SetUpTestSuite() { model_ = LoadGolden(at::kFloat); }
  static void TearDownTestSuite() { model_.reset(); }

  const GoldenCase& golden() const { return GoldenCases().at(GetParam()); }

  c10::InferenceMode inference_;
  static inline std::unique_ptr<Llava> model_;
};

at::Tensor Positions(std::int64_t length) {
  return at::arange(length, at::device(TestDevice()).dtype(at::kLong));
}

std::string CaseName(const testing::TestParamInfo<std::size_t>& info) {
  return GoldenCases().at(info.param).name;
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenFp32, testing::Range<std::size_t>(0, 6), CaseName);

TEST_P(GoldenFp32, VisionStagesEqualTheReference) {
  if (golden().images.empty()) return;
  const at::Tensor pixels = golden().Tensor("pixel_values").to(TestDevice());
  const VisionTower& tower = model_->vision_tower();
  EXPECT_LT(MaxDifference(tower.Embed(pixels), golden().Tensor("vision_embeddings")),
            kFp32Tolerance);
  EXPECT_LT(MaxDifference(tower.Forward(pixels), golden().Tensor("vision_features")),
            kFp32Tolerance);
  EXPECT_LT(MaxDifference(model_->EncodeImages(pixels), golden().Tensor("projected")),
            kFp32Tolerance);
}

TEST_P(GoldenFp32, DecoderStagesEqualTheReference) {
  const auto length = static_cast<std::int64_t>(golden().input_ids.size());
  SdpaAttention attention({length});
  std::vector<at::Tensor> trace;
  const at::Tensor hidden =
      model_->decoder().Forward(GoldenEmbeddings(*model_, golden(), golden().input_ids),
                                Positions(length), attention, /*rows_R=*/{}, &trace);
  EXPECT_LT(MaxDifference(at::stack(trace), golden().Tensor("hidden_states")), kFp32Tolerance);
  const at::Tensor rows = at::tensor(golden().logits_positions).to(TestDevice());
  EXPECT_LT(MaxDifference(model_->Logits(hidden.index_select(0, rows)), golden().Tensor("logits")),
            kFp32Tolerance);
  SdpaAttention again({length});
  const at::Tensor of_rows = model_->Forward(
      GoldenEmbeddings(*model_, golden(), golden().input_ids), Positions(length), again, rows);
  EXPECT_LT(MaxDifference(model_->Logits(of_rows), golden().Tensor("logits")), kFp32Tolerance);
}

// Without a cache: every step from scratch, the ids of the answer so far appended.
TEST_P(GoldenFp32, GreedyIdsAndStepLogitsEqualTheReference) {
  std::vector<std::int64_t> ids = golden().input_ids;
  const at::Tensor expected = golden().Tensor("step_logits");
  for (std::size_t step = 0; step < golden().greedy_ids.size(); ++step) {
    const auto length = static_cast<std::int64_t>(ids.size());
    SdpaAttention attention({length});
    const at::Tensor hidden =
        model_->Forward(GoldenEmbeddings(*model_, golden(), ids), Positions(length), attention);
    const at::Tensor logits = model_->Logits(hidden.slice(0, length - 1)).squeeze(0);
    EXPECT_LT(MaxDifference(logits, expected[static_cast<std::int64_t>(step)]), kFp32Tolerance);
    const auto next = logits.argmax().item<std::int64_t>();
    ASSERT_EQ(next, golden().greedy_ids[step]) << "step " << step;
    ids.push_back(next);
  }
}

}  // namespace
}  // namespace llava::model
