// The sampler of whole steps on a device against the contract of model/network/sampler.h, on the
// CPU through the same operators, or on what LLAVA_TEST_DEVICE names.
#include "server/torch/step_sampler.h"

#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "model/network/logits_processor.h"
#include "tests/property/sampling_cases.h"
#include "tests/support/test_device.h"

namespace llava::engine {
namespace {

using model::Case;

constexpr int kRows = 50;  // of a step

class StepSamplerPropertyTest : public testing::Test {
 protected:
  static std::vector<Case> RandomCases(Rng& rng, std::size_t words) {
    std::vector<Case> cases;
    for (int i = 0; i < kRows; ++i) cases.push_back(model::RandomCase(rng, words));
    return cases;
  }

  std::vector<absl::StatusOr<SampledToken>> Sample(const std::vector<Case>& cases) {
    const c10::InferenceMode inference;
    std::vector<float> logits;
    std::vector<model::LogitsProcessors> processors;
    for (const Case& c : cases) {
      logits.insert(logits.end(), c.row.begin(), c.row.end());
      processors.push_back(model::MakeLogitsProcessors(c.params, c.end_ids));
    }
    std::vector<StepSampler::Row> rows;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const Case& c = cases[i];
      rows.push_back({static_cast<std::int64_t>(i),
                      {.params = &c.params,
                       .tokens = {c.prompt, c.output},
                       .processors = processors[i],
                       .seed = c.seed}});
    }
    const auto words = static_cast<std::int64_t>(cases.front().row.size());
    const at::Tensor here =
        at::from_blob(logits.data(), {std::ssize(cases), words}, at::TensorOptions(at::kFloat));
    sampler_.Launch(here.to(model::TestDevice()), rows);
    return sampler_.Collect();
  }

  // How many are the reference's own only within rounding.
  std::uint64_t Check(const std::vector<Case>& cases) {
    const auto tokens = Sample(cases);
    std::uint64_t rounded = 0;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      SCOPED_TRACE("row " + std::to_string(i));
      const Case& c = cases[i];
      const double uniform = model::UniformOfDraw(c.seed, c.output.size());
      rounded += !model::IsAsTheContractSays(c, tokens[i], uniform);
    }
    return rounded;
  }

  StepSampler sampler_{model::StepBuffer(model::TestDevice(), /*copies=*/true),
                       /*on_device=*/true};
};

TEST_F(StepSamplerPropertyTest, SmallVocabularies) {
  constexpr std::uint64_t kSteps = 2'000;  // of kRows
  const std::uint64_t first = model::FirstSeed();
  std::uint64_t rounded = 0;
  for (std::uint64_t seed = first; seed < first + kSteps && !HasFailure(); ++seed) {
    SCOPED_TRACE("LLAVA_SEED=" + std::to_string(seed));
    Rng rng(seed);
    const auto words = static_cast<std::size_t>(rng.Between(1, rng.Chance(0.02) ? 1500 : 40));
    rounded += Check(RandomCases(rng, words));
  }
  EXPECT_LT(rounded, kSteps * kRows / 1000);
}

TEST_F(StepSamplerPropertyTest, LargeVocabularies) {
  const std::uint64_t first = model::FirstSeed();
  for (std::uint64_t seed = first; seed < first + 2 && !HasFailure(); ++seed) {
    SCOPED_TRACE("LLAVA_SEED=" + std::to_string(seed));
    Rng rng(seed);
    Check(RandomCases(rng, static_cast<std::size_t>(rng.Between(8'000, 130'000))));
  }
}

// Where both round alike they agree, and where they do not the contract allows it: seldom.
TEST_F(StepSamplerPropertyTest, AgreesWithTheSamplerOfTheCpu) {
  std::uint64_t different = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Rng rng(seed + 1'000'000);
    const std::vector<Case> cases = RandomCases(rng, 300);
    const auto tokens = Sample(cases);
    model::Sampler reference;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const Case& c = cases[i];
      const model::LogitsProcessors processors = model::MakeLogitsProcessors(c.params, c.end_ids);
      const auto expected = reference.Sample(c.row, {.params = &c.params,
                                                     .tokens = {c.prompt, c.output},
                                                     .processors = processors,
                                                     .seed = c.seed});
      ASSERT_EQ(tokens[i].status(), expected.status());
      if (!expected.ok()) continue;
      different += tokens[i]->token != expected->token;
      ASSERT_EQ(tokens[i]->top.size(), expected->top.size());
    }
  }
  EXPECT_LE(different, 5u) << "of 5000";
}

}  // namespace
}  // namespace llava::engine
