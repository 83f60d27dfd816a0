#include "server/torch/step_graphs.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/attention_limits.h"
#include "base/rng.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/replaying_graphs.h"
#include "tests/support/test_device.h"

namespace llava::engine {
namespace {

using scheduling::BlockId;
using scheduling::SequenceId;
using testing::ElementsAre;
using testing::HasSubstr;

const Digest kVersion = Sha256Of("version");
constexpr std::int32_t kBlocks = 400;  // and one to spare

// One answer, as a scheduler would keep it.
struct Answer {
  std::vector<std::int32_t> tokens;
  std::size_t computed = 0;
  std::vector<BlockId> blocks;
};

// The model with a cache and what runs a step launch by launch.
class World {
 public:
  explicit World(const TorchModel& model)
      : model_(model),
        cache_(*model::KvCache::Create(
            model.kv_shape(), (kBlocks + 1) * model::KvCache::BlockBytes(model.kv_shape()))),
        inputs_(model::StepBuffer(model.device(0))),
        attention_(model::MakePagedAttention(cache_)) {}

  at::Tensor Run(const scheduling::StepPlan& plan) {
    inputs_.Refill(plan, *attention_);
    return model_.Forward(0, model_.llava().Embed(inputs_.ids_T()), *attention_,
                          {.positions_T = inputs_.positions_T()});
  }

  // What nobody owns is no number.
  void PoisonTheSpareBlock() {
    const model::KvShape& shape = cache_.shape();
    const at::Tensor poison = at::full({kKvBlockTokens, shape.kv_heads, shape.head_dim},
                                       std::numeric_limits<float>::quiet_NaN());
    std::vector<std::int64_t> slots(kKvBlockTokens);
    std::iota(slots.begin(), slots.end(), std::int64_t{kBlocks} * kKvBlockTokens);
    for (int layer = 0; layer < shape.layers; ++layer) cache_.Write(layer, poison, poison, slots);
  }

  model::KvCache& cache() { return cache_; }

 private:
  const TorchModel& model_;
  model::KvCache cache_;
  StepInputs inputs_;
  const std::unique_ptr<model::PagedAttention> attention_;
};

class StepGraphsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto llava = model::Llava::Load(model::GoldenCheckpointDir(), {.pack = true});
    ASSERT_TRUE(llava.ok()) << llava.status();
    llava_ = *std::move(llava);
  }
  static void TearDownTestSuite() { llava_ = nullptr; }

  StepGraphs MakeGraphs(std::int64_t max_bytes = 1 << 20) {
    return StepGraphs({.backend = std::make_unique<ReplayingGraphs>(&log_), .max_bytes = max_bytes},
                      world_.cache(), kBlocks,
                      [this](const std::string& text) { warnings_.push_back(text); });
  }

  // The next tokens of each answer, `most` of each.
  static scheduling::StepPlan PlanOf(const std::vector<Answer*>& answers, std::size_t most = 1,
                                     const Digest& version = kVersion) {
    scheduling::StepPlan plan;
    plan.version = version;
    for (Answer* answer : answers) {
      const std::span<const std::int32_t> left =
          std::span(answer->tokens).subspan(answer->computed);
      const auto chunk = left.first(std::min(most, left.size()));
      plan.chunks.push_back({SequenceId(1), static_cast<int>(answer->computed), plan.total_tokens,
                             chunk, answer->blocks});
      plan.total_tokens += static_cast<int>(chunk.size());
      answer->computed += chunk.size();
    }
    return plan;
  }

  // An answer of `tokens` tokens on the blocks from `first` on.
  static Answer AnswerOf(int tokens, std::int32_t first) {
    Answer answer;
    for (int i = 0; i < tokens; ++i) answer.tokens.push_back(3 + i);
    for (int i = 0; i * kKvBlockTokens < tokens; ++i) answer.blocks.emplace_back(first + i);
    return answer;
  }

  static inline std::shared_ptr<const model::Llava> llava_;
  const c10::InferenceMode inference_;
  const TorchModel model_{kVersion, llava_};
  World world_{model_};
  GraphLog log_;
  std::vector<std::string> warnings_;
};

// A padded step that is replayed is the step alone, bit for bit: answers come and go, prompts run
// beside them or not, contexts grow beyond the width of their tables.
TEST_F(StepGraphsTest, ReplayedStepsAreThoseThatRanLaunchByLaunch) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    World plain(model_);
    StepGraphs graphs = MakeGraphs();
    log_.before_replay = [this] { world_.PoisonTheSpareBlock(); };
    std::deque<Answer> answers;
    std::vector<std::int32_t> free(kBlocks);
    std::iota(free.begin(), free.end(), 0);
    rng.Shuffle(free);
    const auto arrive = [&] {
      const auto tokens =
          static_cast<std::size_t>(rng.Chance(0.2) ? rng.Between(235, 260) : rng.Between(1, 40));
      Answer& answer = answers.emplace_back();
      for (std::size_t i = 0; i < tokens + 40; ++i) {
        answer.tokens.push_back(static_cast<std::int32_t>(rng.Between(3, 700)));
      }
      while (answer.blocks.size() * kKvBlockTokens < answer.tokens.size()) {
        answer.blocks.emplace_back(free.back());
        free.pop_back();
      }
      const scheduling::StepPlan prompt = PlanOf({&answer}, tokens);
      ASSERT_TRUE(at::equal(world_.Run(prompt), plain.Run(prompt)));
    };
    for (int step = 0; step < 60; ++step) {
      if (answers.size() < 18 && (answers.empty() || rng.Chance(0.3))) arrive();
      std::vector<Answer*> running;
      for (Answer& answer : answers) {
        if (answers.size() == 1 || rng.Chance(0.8)) running.push_back(&answer);
      }
      if (running.empty()) continue;
      const scheduling::StepPlan plan = PlanOf(running, rng.Chance(0.1) ? 2 : 1);
      std::optional<at::Tensor> found = graphs.Run(plan, model_);
      if (!found) found = world_.Run(plan);
      ASSERT_TRUE(at::equal(*found, plain.Run(plan))) << "step " << step;
      std::erase_if(answers, [&](const Answer& answer) {
        if (answer.computed < answer.tokens.size() && !rng.Chance(0.02)) return false;
        for (const BlockId block : answer.blocks) free.push_back(block.value());
        return true;
      });
    }
    for (const Answer& answer : answers) {
      std::vector<std::int32_t> table;
      for (const BlockId block : answer.blocks) table.push_back(block.value());
      const auto tokens = static_cast<std::int64_t>(answer.computed);
      const auto [keys, values] = world_.cache().Read(0, table, tokens);
      const auto [plain_keys, plain_values] = plain.cache().Read(0, table, tokens);
      EXPECT_TRUE(at::equal(keys, plain_keys) && at::equal(values, plain_values));
    }
    EXPECT_GT(graphs.counts().replays, 15u);
    EXPECT_GE(graphs.counts().captures, 3u);
  }
}

TEST_F(StepGraphsTest, ASizeIsRecordedWhenItIsMetForTheSecondTime) {
  StepGraphs graphs = MakeGraphs();
  Answer a = AnswerOf(20, 0), b = AnswerOf(20, 2), c = AnswerOf(20, 4);
  EXPECT_FALSE(graphs.Run(PlanOf({&a, &b, &c}), model_).has_value());
  EXPECT_EQ(log_.captures, 0);
  const auto hidden = graphs.Run(PlanOf({&a, &b, &c}), model_);
  ASSERT_TRUE(hidden.has_value());
  EXPECT_EQ(hidden->size(0), 3) << "not the row that pads";
  EXPECT_FALSE(graphs.Run(PlanOf({&a, &b}), model_).has_value()) << "two rows are another size";
  EXPECT_TRUE(graphs.Run(PlanOf({&a, &b, &c}), model_).has_value());
  Answer d = AnswerOf(20, 6);
  d.computed = a.computed;
  EXPECT_TRUE(graphs.Run(PlanOf({&a, &b, &c, &d}), model_).has_value())
      << "three were padded to it";
  EXPECT_EQ(log_.captures, 1);
  EXPECT_EQ(log_.replays, 3);
  const GraphCounts counts = graphs.counts();
  EXPECT_EQ(counts.held, 1);
  EXPECT_EQ(counts.bytes, log_.bytes);
  EXPECT_EQ(counts.captures, 1u);
  EXPECT_EQ(counts.replays, 3u);
  EXPECT_EQ(counts.failures, 0u);
}

class Named final : public scheduling::Adapter {
 public:
  const Digest& digest() const override { return digest_; }

 private:
  const Digest digest_;
};

TEST_F(StepGraphsTest, WhatHasNoFixedShapeIsNeverRecorded) {
  StepGraphs graphs = MakeGraphs();
  const Named adapter;
  for (int again = 0; again < 3; ++again) {
    Answer a = AnswerOf(20, 0), b = AnswerOf(20, 2);
    EXPECT_FALSE(graphs.Run(PlanOf({&a, &b}, 2), model_).has_value()) << "a chunk, or drafts";
    scheduling::StepPlan plan = PlanOf({&a, &b});
    plan.chunks[1].adapter = &adapter;
    EXPECT_FALSE(graphs.Run(plan, model_).has_value()) << "an adapter";
    plan = PlanOf({&a, &b});
    plan.image_rows.push_back({.first_row = 0, .feature = {}, .feature_row = 0, .count = 1});
    EXPECT_FALSE(graphs.Run(plan, model_).has_value()) << "a picture";
    Answer many = AnswerOf(1, 4);
    plan = PlanOf({});
    for (int row = 0; row <= StepGraphs::kMostRows; ++row) {
      plan.chunks.push_back({SequenceId(1), 0, row, many.tokens, many.blocks});
    }
    plan.total_tokens = StepGraphs::kMostRows + 1;
    EXPECT_FALSE(graphs.Run(plan, model_).has_value()) << "too many rows";
  }
  EXPECT_EQ(log_.captures, 0);
}

TEST_F(StepGraphsTest, ASizeThatCannotBeRecordedIsSaidOnceAndNotTriedAgain) {
  StepGraphs graphs = MakeGraphs();
  Answer a = AnswerOf(20, 0), b = AnswerOf(20, 2);
  graphs.Run(PlanOf({&a}), model_);
  log_.next_capture = absl::InternalError("operation not permitted when stream is capturing");
  for (int again = 0; again < 3; ++again) {
    EXPECT_FALSE(graphs.Run(PlanOf({&a}), model_).has_value());
  }
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("steps of 1 rows with contexts up to 256 tokens")));
  EXPECT_THAT(warnings_.front(), HasSubstr("operation not permitted"));
  EXPECT_EQ(graphs.counts().failures, 1u);
  EXPECT_EQ(graphs.counts().held, 0);
  graphs.Run(PlanOf({&a, &b}), model_);
  EXPECT_TRUE(graphs.Run(PlanOf({&a, &b}), model_).has_value()) << "another size is";
}

TEST_F(StepGraphsTest, NothingIsRecordedOnceGraphsTakeAllTheirMemory) {
  StepGraphs graphs = MakeGraphs(/*max_bytes=*/2 * log_.bytes);
  std::vector<Answer> answers;
  for (int i = 0; i < 8; ++i) answers.push_back(AnswerOf(20, 2 * i));
  std::vector<Answer*> running;
  for (Answer& answer : answers) {
    running.push_back(&answer);
    for (int again = 0; again < 2; ++again) graphs.Run(PlanOf(running), model_);
  }
  EXPECT_EQ(graphs.counts().held, 2);
  EXPECT_EQ(graphs.counts().bytes, 2 * log_.bytes);
  EXPECT_THAT(warnings_, ElementsAre());
}

// A size that nobody has had for long makes room for one that there is now.
TEST_F(StepGraphsTest, AGraphThatNobodyNeedsMakesRoom) {
  StepGraphs graphs = MakeGraphs(/*max_bytes=*/log_.bytes);
  Answer a = AnswerOf(20, 0), b = AnswerOf(20, 2);
  const auto run = [&](const std::vector<Answer*>& answers) {
    for (Answer* answer : answers) answer->computed = 5;
    return graphs.Run(PlanOf(answers), model_).has_value();
  };
  run({&a});
  EXPECT_TRUE(run({&a}));
  EXPECT_FALSE(run({&a, &b}));
  int steps = 0;
  while (!run({&a, &b}) && steps < 10'000) ++steps;
  EXPECT_GT(steps, 1000);
  EXPECT_LT(steps, 10'000);
  EXPECT_EQ(graphs.counts().held, 1);
  EXPECT_EQ(log_.there, 1);
  EXPECT_FALSE(run({&a}));
  EXPECT_TRUE(run({&a, &b}));
}

TEST_F(StepGraphsTest, AVersionThatGoesTakesItsGraphsAlong) {
  const Digest other_version = Sha256Of("other");
  const TorchModel other(other_version, llava_);
  {
    StepGraphs graphs = MakeGraphs();
    Answer a = AnswerOf(20, 0);
    for (int again = 0; again < 2; ++again) {
      graphs.Run(PlanOf({&a}), model_);
      graphs.Run(PlanOf({&a}, 1, other_version), other);
    }
    EXPECT_EQ(log_.there, 2);
    graphs.Drop(kVersion);
    EXPECT_EQ(log_.there, 1);
    EXPECT_EQ(graphs.counts().held, 1);
    EXPECT_EQ(graphs.counts().bytes, log_.bytes);
    EXPECT_TRUE(graphs.Run(PlanOf({&a}, 1, other_version), other).has_value());
    EXPECT_FALSE(graphs.Run(PlanOf({&a}), model_).has_value()) << "met for the first time again";
  }
  EXPECT_EQ(log_.there, 0);
}

TEST_F(StepGraphsTest, PicturesAreRecordedByTheirTiles) {
  StepGraphs graphs = MakeGraphs();
  const std::int64_t side = llava_->config().vision.image_size;
  const auto features = [](const at::Tensor& pixels) { return llava_->EncodeImages(pixels); };
  const auto encode = [&](std::int64_t tiles) {
    const at::Tensor pixels = at::randn({tiles, 3, side, side});
    const std::optional<at::Tensor> found = graphs.Encode(kVersion, pixels, features);
    if (found) {
      EXPECT_TRUE(at::equal(*found, features(pixels))) << tiles;
    }
    return found.has_value();
  };
  at::manual_seed(3);
  EXPECT_FALSE(encode(1));
  EXPECT_FALSE(encode(2)) << "another size";
  for (int again = 0; again < 3; ++again) {
    EXPECT_TRUE(encode(1));
    EXPECT_TRUE(encode(2));
    EXPECT_FALSE(encode(StepGraphs::kMostTiles + 1));
  }
  EXPECT_EQ(log_.captures, 2);
  Answer a = AnswerOf(20, 0);
  graphs.Run(PlanOf({&a}), model_);
  EXPECT_TRUE(graphs.Run(PlanOf({&a}), model_).has_value()) << "a step of one row is none of them";
  log_.next_capture = absl::InternalError("not so");
  for (int again = 0; again < 3; ++again) EXPECT_FALSE(encode(3));
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("pictures of 3 tiles")));
  graphs.Drop(kVersion);
  EXPECT_EQ(log_.there, 0);
}

// By the device's own graphs. Its products may round a row otherwise among more rows.
TEST_F(StepGraphsTest, OnAGpuReplayedStepsAreNearThoseThatRanLaunchByLaunch) {
  if (model::TestDevice().is_cpu()) GTEST_SKIP() << "no GPU";
  auto llava = model::Llava::Load(model::GoldenCheckpointDir(),
                                  {.device = model::TestDevice(), .pack = true});
  ASSERT_TRUE(llava.ok()) << llava.status();
  const TorchModel model(kVersion, *std::move(llava));
  World world(model), plain(model);
  StepGraphs graphs({.backend = GraphsOf(model::TestDevice()), .max_bytes = 1 << 30}, world.cache(),
                    kBlocks, [](const std::string& text) { FAIL() << text; });
  std::vector<Answer> answers;
  for (int i = 0; i < 5; ++i) answers.push_back(AnswerOf(40 + i, 4 * i));
  std::vector<Answer*> running;
  for (Answer& answer : answers) running.push_back(&answer);
  const scheduling::StepPlan prompts = PlanOf(running, 20);
  world.Run(prompts);
  plain.Run(prompts);
  for (int step = 0; step < 18; ++step) {
    if (step == 9) running.pop_back();
    const scheduling::StepPlan plan = PlanOf(running);
    std::optional<at::Tensor> found = graphs.Run(plan, model);
    if (!found) found = world.Run(plan);
    EXPECT_TRUE(at::allclose(*found, plain.Run(plan), 1e-3, 1e-3)) << step;
  }
  EXPECT_EQ(graphs.counts().captures, 2u);
  EXPECT_EQ(graphs.counts().replays, 16u);
}

TEST_F(StepGraphsTest, ThereAreNoneWithoutABackend) {
  EXPECT_EQ(GraphsOf(at::kCPU), nullptr);
  StepGraphs graphs({}, world_.cache(), kBlocks, [](const std::string&) {});
  Answer a = AnswerOf(20, 0);
  for (int again = 0; again < 3; ++again) {
    EXPECT_FALSE(graphs.Run(PlanOf({&a}), model_).has_value());
  }
}

}  // namespace
}  // namespace llava::engine
