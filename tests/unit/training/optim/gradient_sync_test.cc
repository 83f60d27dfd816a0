#include "training/optim/gradient_sync.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/live_bytes.h"
#include "tests/support/rank_threads.h"
#include "training/optim/gradients.h"

namespace llava::training {
namespace {

// The second is larger than the first bucket, so that it is sent with the third, before the first.
constexpr std::array<std::int64_t, 3> kSizes = {10, 300'000, 35};

std::vector<model::NamedTensor> Parameters(at::ScalarType type = at::kFloat) {
  std::vector<model::NamedTensor> parameters;
  for (const std::int64_t size : kSizes) {
    parameters.push_back({"p" + std::to_string(parameters.size()), at::zeros({size}, type)});
    parameters.back().tensor.requires_grad_();
  }
  return parameters;
}

// What a backward pass of `Learn` with that factor makes of parameter i.
at::Tensor Gradient(std::size_t i, double factor) {
  return factor * (at::arange(kSizes[i], at::kFloat).remainder(64) + static_cast<double>(i));
}

// A backward pass through all parameters but one.
void Learn(const std::vector<model::NamedTensor>& parameters, double factor, int without = -1) {
  at::Tensor loss = at::zeros({});
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (static_cast<int>(i) == without) continue;
    loss = loss + (parameters[i].tensor.to(at::kFloat) * Gradient(i, factor)).sum();
  }
  loss.backward();
}

TEST(GradientSyncTest, AloneItDoesNothing) {
  Ranks alone;
  const auto parameters = Parameters();
  GradientSync sync(alone, parameters, /*sharded=*/true);
  EXPECT_FALSE(sync.sharded());
  EXPECT_EQ(sync.Owned().size(), parameters.size());
  sync.BeginPass(true);
  Learn(parameters, 2.0);
  EXPECT_TRUE(sync.EndPass().ok());
  EXPECT_TRUE(sync.ShareWeights([](const std::string&) { return false; }).ok());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_TRUE(at::equal(parameters[i].tensor.grad(), Gradient(i, 2.0))) << i;
  }
  EXPECT_EQ(*sync.Norm(), GradientNorm(parameters));
}

TEST(GradientSyncTest, EveryRankGetsTheSumOverRanksAndPasses) {
  test::OnRanks(3, [](Ranks& ranks) {
    const auto parameters = Parameters();
    GradientSync sync(ranks, parameters, /*sharded=*/false);
    EXPECT_EQ(sync.Owned().size(), parameters.size());
    for (int step = 1; step <= 2; ++step) {
      for (const bool last : {false, true}) {
        sync.BeginPass(last);
        Learn(parameters, step * (ranks.rank() + 1.0));
        ASSERT_TRUE(sync.EndPass().ok());
      }
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        EXPECT_TRUE(at::equal(parameters[i].tensor.grad(), Gradient(i, step * 2 * 6.0))) << i;
        parameters[i].tensor.mutable_grad() = at::Tensor();
      }
    }
  });
}

TEST(GradientSyncTest, ShardedEachParameterHasOneOwnerWhoAloneGetsTheSum) {
  test::OnRanks(2, [](Ranks& ranks) {
    const auto parameters = Parameters();
    GradientSync sync(ranks, parameters, /*sharded=*/true);
    EXPECT_TRUE(sync.sharded());
    // The heaviest to the first rank, the others to the one that has less.
    std::vector<std::string> owned;
    for (const model::NamedTensor& parameter : sync.Owned()) owned.push_back(parameter.name);
    EXPECT_EQ(owned, ranks.rank() == 0 ? std::vector<std::string>{"p1"}
                                       : (std::vector<std::string>{"p0", "p2"}));
    for (int step = 1; step <= 2; ++step) {
      for (const bool last : {false, false, true}) {
        sync.BeginPass(last);
        Learn(parameters, step * (ranks.rank() + 1.0));
        ASSERT_TRUE(sync.EndPass().ok());
        EXPECT_EQ(parameters[1].tensor.grad().defined(), last && ranks.rank() == 0);
      }
      double squares = 0.0;
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        const at::Tensor expected = Gradient(i, step * 3 * 3.0);
        squares += std::pow(expected.norm().item<double>(), 2);
        const at::Tensor& gradient = parameters[i].tensor.grad();
        ASSERT_EQ(gradient.defined(), (i == 1) == (ranks.rank() == 0)) << i;
        if (gradient.defined()) {
          EXPECT_TRUE(at::equal(gradient, expected)) << i;
        }
      }
      const auto norm = sync.Norm();
      ASSERT_TRUE(norm.ok());
      EXPECT_NEAR(*norm, std::sqrt(squares), 1e-5 * std::sqrt(squares));
      for (const auto& parameter : parameters) parameter.tensor.mutable_grad() = at::Tensor();
    }
  });
}

// Rank 1 does not use the first parameter, nobody uses the last, and rank 2 has no pass at all.
TEST(GradientSyncTest, RanksMayDifferInWhatTheyUse) {
  for (const bool sharded : {false, true}) {
    test::OnRanks(3, [&](Ranks& ranks) {
      const auto parameters = Parameters();
      const std::vector<model::NamedTensor> used = {parameters[0], parameters[1]};
      GradientSync sync(ranks, parameters, sharded);
      sync.BeginPass(true);
      if (ranks.rank() < 2) Learn(used, ranks.rank() + 1.0, ranks.rank() == 1 ? 0 : -1);
      ASSERT_TRUE(sync.EndPass().ok());
      for (const model::NamedTensor& parameter : sync.Owned()) {
        const at::Tensor& gradient = parameter.tensor.grad();
        const std::size_t i = static_cast<std::size_t>(parameter.name[1] - '0');
        ASSERT_EQ(gradient.defined(), i < 2) << parameter.name;
        if (i < 2) {
          EXPECT_TRUE(at::equal(gradient, Gradient(i, i == 0 ? 1.0 : 3.0))) << parameter.name;
        }
      }
    });
  }
}

// 256 + 1 has no bfloat16.
TEST(GradientSyncTest, AddsUpInFloat32) {
  test::OnRanks(2, [](Ranks& ranks) {
    const at::Tensor weight = at::zeros({4}, at::kBFloat16).requires_grad_();
    GradientSync sync(ranks, {{"w", weight}}, /*sharded=*/false);
    sync.BeginPass(true);
    (weight.to(at::kFloat) * (ranks.rank() == 0 ? 256.0 : 1.0)).sum().backward();
    ASSERT_TRUE(sync.EndPass().ok());
    EXPECT_TRUE(at::equal(weight.grad(), at::full({4}, 257.0F)));
  });
}

// The same of micro batches, alone and on ranks.
TEST(GradientSyncTest, MicroBatchesAddUpInFloat32) {
  const auto sum = [](Ranks& ranks, bool sharded) {
    const at::Tensor weight = at::zeros({4}, at::kBFloat16).requires_grad_();
    GradientSync sync(ranks, {{"w", weight}}, sharded);
    for (int step = 0; step < 2; ++step) {
      for (const double factor : {256.0, 1.0, 1.0}) {
        sync.BeginPass(/*last=*/false);
        (weight.to(at::kFloat) * factor).sum().backward();
        ASSERT_TRUE(sync.EndPass().ok());
      }
      sync.BeginPass(/*last=*/true);
      (weight.to(at::kFloat) * 1.0).sum().backward();
      ASSERT_TRUE(sync.EndPass().ok());
      if (sync.Owned().empty()) continue;
      const auto all = static_cast<float>(259 * ranks.size());
      EXPECT_TRUE(at::equal(weight.grad().to(at::kFloat), at::full({4}, all))) << weight.grad();
      weight.mutable_grad() = at::Tensor();
    }
  };
  Ranks alone;
  sum(alone, false);
  for (const bool sharded : {false, true}) {
    test::OnRanks(2, [&](Ranks& ranks) { sum(ranks, sharded); });
  }
}

// Of a sharded pass there are the sums that a rank owns and a few buckets, not all gradients and
// all sums.
TEST(GradientSyncTest, GradientsAreFreedAsTheyAreSent) {
  constexpr std::int64_t kEach = 1 << 16, kParameters = 64;
  test::OnRanks(2, [](Ranks& ranks) {
    std::vector<model::NamedTensor> parameters;
    for (std::int64_t i = 0; i < kParameters; ++i) {
      parameters.push_back(
          {"p" + std::to_string(i), at::zeros({kEach}, at::kBFloat16).requires_grad_()});
    }
    GradientSync sync(ranks, parameters, /*sharded=*/true, /*bucket_elements=*/kEach);
    at::Tensor loss = at::zeros({}, at::kBFloat16);
    for (const auto& parameter : parameters) loss = loss + parameter.tensor.sum();
    sync.BeginPass(/*last=*/true);
    const test::CountLiveBytes live;
    loss.backward();
    ASSERT_TRUE(sync.EndPass().ok());
    constexpr std::int64_t kOwned = kParameters / 2 * kEach * 4;
    // On their way, what becomes one, and what a communication thread has not let go yet.
    constexpr std::int64_t kBuckets = 8 * kEach * 4;
    EXPECT_GE(live.most(), kOwned);
    EXPECT_LE(live.most(), kOwned + kBuckets);
    EXPECT_LT(kOwned + kBuckets, kParameters * kEach * (2 + 4) / 2);  // of all gradients and sums
    for (const auto& parameter : sync.Owned()) {
      EXPECT_TRUE(at::equal(parameter.tensor.grad(), at::full({kEach}, 2.0F)));
    }
  });
}

TEST(GradientSyncTest, OwnersGiveTheirWeightsToTheOthers) {
  test::OnRanks(2, [](Ranks& ranks) {
    auto parameters = Parameters();
    // A view whose rows do not lie one after another.
    parameters.push_back({"p3", at::zeros({3, 5}).t().requires_grad_()});
    GradientSync sync(ranks, parameters, /*sharded=*/true);
    {
      const at::NoGradGuard no_grad;
      for (const auto& parameter : parameters) parameter.tensor.fill_(-1.0);
      for (const auto& parameter : sync.Owned()) parameter.tensor.fill_(10.0 + ranks.rank());
    }
    ASSERT_TRUE(sync.ShareWeights([](const std::string&) { return false; }).ok());
    for (const auto& parameter : parameters) {
      const double owner = parameter.name == "p1" ? 0.0 : 1.0;
      EXPECT_TRUE(at::equal(parameter.tensor, at::full_like(parameter.tensor, 10.0 + owner)))
          << parameter.name;
    }
  });
}

TEST(GradientSyncTest, AfterItsEndGradientsStayWithTheirRank) {
  test::OnRanks(2, [](Ranks& ranks) {
    const auto parameters = Parameters();
    {
      GradientSync sync(ranks, parameters, /*sharded=*/true);
    }
    Learn(parameters, ranks.rank() + 1.0);
    EXPECT_TRUE(at::equal(parameters[1].tensor.grad(), Gradient(1, ranks.rank() + 1.0)));
  });
}

}  // namespace
}  // namespace llava::training
