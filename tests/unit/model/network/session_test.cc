#include "model/network/session.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "tests/support/checkpoint_fixture.h"

namespace llava::model {
namespace {

class SessionTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto llava = Llava::Load(GoldenCheckpointDir(), {.pack = true});
    ASSERT_TRUE(llava.ok()) << llava.status();
    llava_ = *std::move(llava);
    std::vector<std::int64_t> ids;
    for (std::int64_t i = 0; i < 40; ++i) ids.push_back(3 + i * 7 % 90);
    ids_ = at::tensor(ids, at::TensorOptions().dtype(at::kLong));
  }
  static void TearDownTestSuite() { llava_.reset(); }

  // Hidden states of all tokens, appended in chunks of so many.
  static at::Tensor Run(Session session, std::int64_t chunk) {
    const c10::InferenceMode inference;
    std::vector<at::Tensor> hidden;
    for (std::int64_t done = 0; done < ids_.size(0); done += chunk) {
      const std::int64_t count = std::min(chunk, ids_.size(0) - done);
      hidden.push_back(session.Append(llava_->Embed(ids_.narrow(0, done, count))));
    }
    EXPECT_EQ(session.length(), ids_.size(0));
    return at::cat(hidden);
  }

  static inline std::unique_ptr<Llava> llava_;
  static inline at::Tensor ids_;
};

TEST_F(SessionTest, ChunksAreLikeTheWhole) {
  const at::Tensor whole = Run(Session(*llava_), 40);
  EXPECT_TRUE(at::allclose(whole, Run(Session(*llava_), 7), 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(whole, Run(Session(*llava_), 1), 1e-4, 1e-5));
}

TEST_F(SessionTest, KvCodesAreNearNumbersAndTheSameInAnyChunks) {
  const auto codes = [](std::int64_t chunk) {
    return Run(Session::WithKvCodes(*llava_).value(), chunk);
  };
  const at::Tensor exact = Run(Session(*llava_), 40);
  const at::Tensor whole = codes(40);
  EXPECT_TRUE(at::equal(whole, codes(1)));
  EXPECT_TRUE(at::equal(whole, codes(7)));
  const double worst = (whole - exact).abs().max().item<double>();
  EXPECT_GT(worst, 0);
  EXPECT_LT(worst, 0.05 * exact.abs().max().item<double>());
}

// As an engine on a GPU holds them; other products for other chunks, so that a last bit may round
// to another number.
TEST_F(SessionTest, KeysAndValuesOfFp8AreNear) {
  const at::Tensor exact = Run(Session(*llava_), 40);
  for (const std::int64_t chunk : {40, 7, 1}) {
    const at::Tensor found = Run(Session::WithKvCodes(*llava_, at::kFloat8_e4m3fn).value(), chunk);
    const double mean = (found - exact).abs().mean().item<double>();
    EXPECT_GT(mean, 0) << chunk;
    EXPECT_LT(mean, 0.1 * exact.abs().mean().item<double>()) << chunk;
  }
}

}  // namespace
}  // namespace llava::model
