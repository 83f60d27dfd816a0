// On a GPU what only a GPU can show; LLAVA_TEST_DEVICE=cuda.
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <memory>

#include "server/torch/step_graph.h"
#include "tests/support/test_device.h"

namespace llava::engine {
namespace {

class CudaGraphTest : public testing::Test {
 protected:
  static double Sum(const at::Tensor& x) { return x.sum().item<double>(); }

  const at::TensorOptions options_ = at::TensorOptions().device(model::TestDevice());
  const at::Tensor x_ = at::full({4}, 1, options_.dtype(at::kFloat));
  const std::unique_ptr<GraphBackend> graphs_ = GraphsOf(model::TestDevice());
  at::Tensor y_;
};

TEST_F(CudaGraphTest, OnlyGpusHaveThem) {
  EXPECT_EQ(GraphsOf(at::kCPU), nullptr);
  EXPECT_EQ(graphs_ == nullptr, model::TestDevice().is_cpu());
}

TEST_F(CudaGraphTest, ReplaysWhatWasRecordedOnWhatIsThereByThen) {
  if (graphs_ == nullptr) GTEST_SKIP() << "no GPU";
  auto graph = graphs_->Capture([this] { y_ = x_ * 2 + 1; });
  ASSERT_TRUE(graph.ok()) << graph.status();
  for (const double x : {5, -3, 0}) {
    x_.fill_(x);
    (*graph)->Replay();
    EXPECT_EQ(Sum(y_), 4 * (2 * x + 1));
  }
  EXPECT_GE((*graph)->bytes(), 0);
}

// Graphs share a pool, and when all of them are gone there is a new one.
TEST_F(CudaGraphTest, SeveralAreThereOneAfterTheOther) {
  if (graphs_ == nullptr) GTEST_SKIP() << "no GPU";
  for (int again = 0; again < 3; ++again) {
    at::Tensor other;
    auto one = graphs_->Capture([this] { y_ = x_ + 1; });
    auto two = graphs_->Capture([&] { other = x_ + 2; });
    ASSERT_TRUE(one.ok() && two.ok()) << one.status() << two.status();
    x_.fill_(again);
    (*two)->Replay();
    (*one)->Replay();
    EXPECT_EQ(Sum(y_), 4 * (again + 1));
    EXPECT_EQ(Sum(other), 4 * (again + 2));
  }
}

TEST_F(CudaGraphTest, WorkThatWaitsForTheDeviceIsAnErrorThatLeavesNothingBehind) {
  if (graphs_ == nullptr) GTEST_SKIP() << "no GPU";
  const auto failed = graphs_->Capture([this] { y_ = x_ * Sum(x_); });
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kInternal) << failed.status();
  y_ = at::Tensor();
  EXPECT_EQ(Sum(x_ + 1), 8);
  auto graph = graphs_->Capture([this] { y_ = x_ + 1; });
  ASSERT_TRUE(graph.ok()) << graph.status();
  (*graph)->Replay();
  EXPECT_EQ(Sum(y_), 8);
}

}  // namespace
}  // namespace llava::engine
