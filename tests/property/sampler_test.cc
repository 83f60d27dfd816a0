// The CPU's sampler against the contract of sampler.h.
#include "model/network/sampler.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/property/sampling_cases.h"

namespace llava::model {
namespace {

constexpr std::uint64_t kSets = 100'000;
constexpr std::uint64_t kSetsOfALargeVocabulary = 100;

absl::StatusOr<SampledToken> Sample(Sampler& sampler, const Case& c) {
  const LogitsProcessors processors = MakeLogitsProcessors(c.params, c.end_ids);
  return sampler.Sample(c.row, {.params = &c.params,
                                .tokens = {c.prompt, c.output},
                                .processors = processors,
                                .seed = c.seed});
}

class SamplerPropertyTest : public testing::TestWithParam<const KernelTable*> {
 protected:
  // As IsAsTheContractSays.
  bool Check(const Case& c) {
    return IsAsTheContractSays(c, Sample(sampler_, c), UniformOfDraw(c.seed, c.output.size()));
  }

  Sampler sampler_{*GetParam()};
};

TEST_P(SamplerPropertyTest, SmallVocabularies) {
  const std::uint64_t first = FirstSeed();
  std::uint64_t rounded = 0;
  for (std::uint64_t seed = first; seed < first + kSets && !HasFailure(); ++seed) {
    SCOPED_TRACE("LLAVA_SEED=" + std::to_string(seed));
    Rng rng(seed);
    const auto words = static_cast<std::size_t>(rng.Between(1, rng.Chance(0.02) ? 1500 : 40));
    rounded += !Check(RandomCase(rng, words));
  }
  EXPECT_LT(rounded, kSets / 1000);
}

TEST_P(SamplerPropertyTest, LargeVocabularies) {
  const std::uint64_t first = FirstSeed();
  for (std::uint64_t seed = first; seed < first + kSetsOfALargeVocabulary && !HasFailure();
       ++seed) {
    SCOPED_TRACE("LLAVA_SEED=" + std::to_string(seed));
    Rng rng(seed);
    const auto words = static_cast<std::size_t>(rng.Between(8'000, 130'000));
    Check(RandomCase(rng, words));
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, SamplerPropertyTest, testing::ValuesIn(SupportedKernels()),
                         [](const testing::TestParamInfo<const KernelTable*>& kernels) {
                           return kernels.param->name;
                         });

}  // namespace
}  // namespace llava::model
