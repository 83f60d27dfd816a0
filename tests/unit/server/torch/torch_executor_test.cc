#include "server/torch/torch_executor.h"

#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/network/session.h"
#include "model/ranks/c10d_backend.h"
#include "server/torch/device_memory.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/prepared_pixels.h"
#include "tests/support/replaying_graphs.h"

namespace llava::engine {
namespace {

using scheduling::BlockId;
using scheduling::FeatureId;
using scheduling::SequenceId;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const Digest kVersion = Sha256Of("version");
constexpr int kBlocks = 64;
constexpr int kImageTokens = 16;  // of the golden checkpoint

// One choice as a scheduler would keep it.
struct Choice {
  SequenceId id;
  std::vector<std::int32_t> tokens;  // prompt and answer
  std::size_t prompt_tokens = 0;
  std::size_t computed = 0;
  std::vector<BlockId> blocks;
  SamplingParams params;

  Choice(int number, std::vector<std::int32_t> prompt) : id(number), tokens(std::move(prompt)) {
    prompt_tokens = tokens.size();
    for (int i = 0; i < 4; ++i) blocks.emplace_back(4 * number + i);
  }
  std::vector<std::int32_t> Answer() const {
    return {tokens.begin() + static_cast<std::ptrdiff_t>(prompt_tokens), tokens.end()};
  }
};

class TorchExecutorTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto llava = model::Llava::Load(model::GoldenCheckpointDir(), {.pack = true});
    ASSERT_TRUE(llava.ok()) << llava.status();
    llava_ = *std::move(llava);
  }
  static void TearDownTestSuite() { llava_ = nullptr; }

  void SetUp() override {
    const auto model = std::make_shared<TorchModel>(kVersion, llava_);
    auto executor = TorchExecutor::Create(model->kv_shapes(), kBlocks);
    ASSERT_TRUE(executor.ok()) << executor.status();
    executor_ = *std::move(executor);
    const absl::Status added = executor_->AddVersion(model);
    ASSERT_TRUE(added.ok()) << added;
  }

  // The next `most` tokens of each choice at the most; those that have no more sample one.
  static scheduling::StepPlan PlanOf(const std::vector<Choice*>& choices, std::size_t most = 99) {
    scheduling::StepPlan plan;
    plan.version = kVersion;
    for (Choice* choice : choices) {
      const std::span<const std::int32_t> tokens = choice->tokens;
      const std::size_t count = std::min(most, tokens.size() - choice->computed);
      plan.chunks.push_back({choice->id, static_cast<int>(choice->computed), plan.total_tokens,
                             tokens.subspan(choice->computed, count), choice->blocks});
      plan.total_tokens += static_cast<int>(count);
      choice->computed += count;
      if (choice->computed < tokens.size()) continue;
      plan.samples.push_back({plan.total_tokens - 1, choice->id, &choice->params,
                              tokens.first(choice->prompt_tokens),
                              tokens.subspan(choice->prompt_tokens), /*seed=*/7});
    }
    return plan;
  }

  std::vector<SampledToken> Run(const scheduling::StepPlan& plan) {
    const absl::Status launched = executor_->Launch(plan);
    EXPECT_TRUE(launched.ok()) << launched;
    if (!launched.ok()) return {};
    auto collected = executor_->Collect();
    EXPECT_TRUE(collected.ok()) << collected.status();
    return collected.ok() ? std::move(collected->result.tokens) : std::vector<SampledToken>();
  }

  // A step in which all of them sample.
  void Step(const std::vector<Choice*>& choices) {
    const std::vector<SampledToken> tokens = Run(PlanOf(choices));
    ASSERT_EQ(tokens.size(), choices.size());
    for (std::size_t i = 0; i < tokens.size(); ++i) choices[i]->tokens.push_back(tokens[i].token);
  }

  // The greedy answer without a cache in blocks or a batch.
  static std::vector<std::int32_t> Reference(const std::vector<std::int32_t>& prompt, int count) {
    const c10::InferenceMode inference;
    model::Session session(*llava_);
    at::Tensor logits;
    for (const std::int32_t token : prompt) logits = session.Step(token);
    std::vector<std::int32_t> answer;
    while (std::ssize(answer) < count) {
      answer.push_back(static_cast<std::int32_t>(logits.argmax().item<std::int64_t>()));
      logits = session.Step(answer.back());
    }
    return answer;
  }

  static scheduling::ImageInput Image(int side, int count) {
    scheduling::ImageInput image;
    image.digest = Sha256Of("image");
    image.offset = 1;
    image.count = count;
    image.height = image.width = side;
    test::FillPixels(image, /*seed=*/3);
    return image;
  }

  static inline std::shared_ptr<const model::Llava> llava_;
  std::unique_ptr<TorchExecutor> executor_;
};

TEST_F(TorchExecutorTest, ABatchGivesWhatItsSequencesGiveAlone) {
  const std::vector<std::int32_t> prompts[] = {{1, 300, 17, 5, 40, 41, 42}, {1, 9}, {1, 700, 12}};
  std::vector<Choice> choices;
  for (int i = 0; i < 3; ++i) choices.emplace_back(i + 1, prompts[i]);
  const std::vector<Choice*> all = {&choices[0], &choices[1], &choices[2]};
  // A prompt that is cut, beside one that ends.
  const std::vector<SampledToken> tokens = Run(PlanOf(all, 3));
  ASSERT_EQ(tokens.size(), 2u);
  choices[1].tokens.push_back(tokens[0].token);
  choices[2].tokens.push_back(tokens[1].token);
  for (int step = 0; step < 5; ++step) Step(all);
  EXPECT_EQ(choices[0].Answer(), Reference(prompts[0], 5));
  EXPECT_EQ(choices[1].Answer(), Reference(prompts[1], 6));
  EXPECT_EQ(choices[2].Answer(), Reference(prompts[2], 6));
}

TEST_F(TorchExecutorTest, SamplesOfOneRowShareItsLogits) {
  Choice choice(1, {1, 300, 17});
  choice.params.top_logprobs = 2;
  scheduling::StepPlan plan = PlanOf({&choice});
  plan.samples.push_back(plan.samples[0]);
  plan.samples[1].sequence = SequenceId(2);
  const std::vector<SampledToken> tokens = Run(plan);
  ASSERT_EQ(tokens.size(), 2u);
  EXPECT_EQ(tokens[0].token, tokens[1].token);
  EXPECT_EQ(tokens[0].logprob, tokens[1].logprob);
  EXPECT_EQ(tokens[0].top.size(), 2u);
}

// The processors of a choice that pauses are dropped and made anew.
TEST_F(TorchExecutorTest, PenaltiesCountTheWholeAnswerOfAChoiceThatPauses) {
  Choice always(1, {1, 300, 17}), pausing(2, {1, 300, 17}), other(3, {1, 8});
  for (Choice* choice : {&always, &pausing}) {
    choice->params.frequency_penalty = 1.5;
    choice->params.repetition_penalty = 1.3;
  }
  for (int step = 0; step < 12; ++step) {
    Step({&always, &other});
    if (step % 3 != 1) Step({&pausing});
  }
  while (pausing.tokens.size() < always.tokens.size()) Step({&pausing, &other});
  EXPECT_EQ(pausing.Answer(), always.Answer());
  EXPECT_NE(always.Answer(), Reference({1, 300, 17}, 12));
}

TEST_F(TorchExecutorTest, AnImageIsEncodedOnceAndTakesItsRows) {
  const std::vector<std::int32_t> marks(kImageTokens, llava_->config().image_token_id);
  std::vector<std::int32_t> prompt = {1};
  prompt.insert(prompt.end(), marks.begin(), marks.end());
  prompt.push_back(300);
  const scheduling::ImageInput image = Image(llava_->config().vision.image_size, kImageTokens);
  at::Tensor expected;
  {
    const c10::InferenceMode inference;
    const at::Tensor pixels =
        at::tensor(test::ValuesOf(image)).view({1, 3, image.height, image.width});
    model::PromptTokens tokens{{prompt.begin(), prompt.end()}, {{1, kImageTokens, 0}}};
    model::Session session(*llava_);
    const at::Tensor hidden =
        session.Append(model::EmbedPrompt(*llava_, tokens, llava_->EncodeImages(pixels)));
    expected = at::log_softmax(llava_->Logits(hidden.slice(0, -1)).squeeze(0), 0);
  }
  Choice choice(1, prompt);
  choice.params.top_logprobs = 0;
  scheduling::StepPlan plan = PlanOf({&choice}, 9);  // cut through the image
  plan.encodes.push_back({FeatureId(5), &image});
  plan.image_rows.push_back(
      {.first_row = 1, .feature = FeatureId(5), .feature_row = 0, .count = 8});
  const absl::Status encoded = executor_->EncodeImages(plan);
  ASSERT_TRUE(encoded.ok()) << encoded;
  EXPECT_TRUE(Run(plan).empty());
  plan = PlanOf({&choice});
  plan.image_rows.push_back(
      {.first_row = 0, .feature = FeatureId(5), .feature_row = 8, .count = 8});
  const std::vector<SampledToken> tokens = Run(plan);
  ASSERT_EQ(tokens.size(), 1u);
  EXPECT_EQ(tokens[0].token, expected.argmax().item<std::int64_t>());
  EXPECT_NEAR(tokens[0].logprob, expected.max().item<float>(), 1e-3);
}

// A device that runs behind: what was set, in its order.
class FakeMarks final : public DeviceMarks {
 public:
  explicit FakeMarks(std::vector<std::string>* calls) : calls_(calls) {}
  void Set(Mark mark) override { calls_->push_back("set " + Name(mark)); }
  void WaitFor(Mark mark) override {
    calls_->push_back("wait for " + Name(mark));
    if (fails) TORCH_CHECK(false, "the device is gone");
  }
  Duration Between(Mark from, Mark to) override {
    calls_->push_back("from " + Name(from) + " to " + Name(to));
    return std::chrono::milliseconds(12);
  }

  bool fails = false;

 private:
  static std::string Name(Mark mark) {
    return mark == Mark::kBegin ? "begin" : mark == Mark::kEncoded ? "encoded" : "end";
  }
  std::vector<std::string>* const calls_;
};

TEST_F(TorchExecutorTest, ADeviceThatRunsBehindIsWaitedForAndTimesItsEncoder) {
  EXPECT_EQ(executor_->Collect()->encode, std::nullopt) << "a CPU has done it";
  EXPECT_FALSE(executor_->runs_behind());
  std::vector<std::string> calls;
  auto marks = std::make_unique<FakeMarks>(&calls);
  FakeMarks* const fake = marks.get();
  executor_->set_marks(std::move(marks));
  const scheduling::ImageInput image = Image(llava_->config().vision.image_size, kImageTokens);
  scheduling::StepPlan plan;
  plan.version = kVersion;
  plan.encodes.push_back({FeatureId(1), &image});
  ASSERT_EQ(executor_->EncodeImages(plan), absl::OkStatus());
  EXPECT_TRUE(executor_->runs_behind());
  EXPECT_EQ(executor_->Collect()->encode, std::optional<Duration>(std::chrono::milliseconds(12)));
  EXPECT_THAT(calls, ElementsAre("set begin", "set encoded", "set end", "wait for end",
                                 "from begin to encoded"));
  calls.clear();
  Choice choice(1, {1, 300, 17});
  plan = PlanOf({&choice});
  ASSERT_EQ(executor_->Launch(plan), absl::OkStatus());
  EXPECT_THAT(calls, IsEmpty()) << "a launch waits for nothing";
  const auto collected = executor_->Collect();
  ASSERT_TRUE(collected.ok()) << collected.status();
  EXPECT_EQ(collected->encode, std::nullopt) << "nothing was encoded in this step";
  ASSERT_EQ(collected->result.tokens.size(), 1u);
  EXPECT_EQ(collected->result.tokens[0].token, Reference({1, 300, 17}, 1)[0]);
  EXPECT_THAT(calls, ElementsAre("set end", "wait for end"));
  EXPECT_TRUE(executor_->Collect()->result.tokens.empty()) << "they were collected";
  fake->fails = true;
  const absl::Status failed = executor_->Collect().status();
  EXPECT_EQ(failed.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(failed.message()), HasSubstr("the device is gone"));
}

TEST_F(TorchExecutorTest, AnImageThatWasPreparedOtherwiseIsAnError) {
  const int side = llava_->config().vision.image_size;
  std::vector<scheduling::ImageInput> images = {Image(side + 14, kImageTokens), Image(side, 17),
                                                Image(side, kImageTokens),
                                                Image(side, kImageTokens)};
  images[2].pixel_table = nullptr;
  images[3].pixels_CHW.pop_back();
  for (const scheduling::ImageInput& image : images) {
    scheduling::StepPlan plan;
    plan.version = kVersion;
    plan.encodes.push_back({FeatureId(5), &image});
    const absl::Status status = executor_->EncodeImages(plan);
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("a picture was prepared as"));
  }
}

TEST_F(TorchExecutorTest, CopiesBlocksBeforeTheBatch) {
  Choice choice(1, {1, 300, 17});
  Run(PlanOf({&choice}));
  const std::int32_t next = Reference({1, 300, 17}, 1)[0];
  choice.tokens.push_back(next);
  scheduling::StepPlan plan = PlanOf({&choice});
  const BlockId copy(kBlocks - 1);
  plan.copies.push_back({.from = choice.blocks[0], .to = copy});
  plan.chunks[0].blocks = {&copy, 1};
  const std::vector<SampledToken> tokens = Run(plan);
  ASSERT_EQ(tokens.size(), 1u);
  EXPECT_EQ(tokens[0].token, Reference({1, 300, 17}, 2)[1]);
}

// Their samples find their rows, of which the step had others too.
TEST_F(TorchExecutorTest, RecordedStepsGiveTheAnswersOfOthers) {
  const auto model = std::make_shared<TorchModel>(kVersion, llava_);
  GraphLog log;
  auto executor = TorchExecutor::Create(
      model->kv_shapes(), kBlocks, /*threads=*/0,
      {.backend = std::make_unique<ReplayingGraphs>(&log), .max_bytes = 1 << 20});
  ASSERT_TRUE(executor.ok()) << executor.status();
  executor_ = *std::move(executor);
  std::vector<std::string> warnings;
  executor_->set_warn([&](const std::string& text) { warnings.push_back(text); });
  ASSERT_EQ(executor_->AddVersion(model), absl::OkStatus());
  const std::vector<std::int32_t> prompts[] = {{1, 300, 17, 5, 40, 41, 42}, {1, 9}, {1, 700, 12}};
  std::vector<Choice> choices;
  for (int i = 0; i < 3; ++i) choices.emplace_back(i + 1, prompts[i]);
  const std::vector<Choice*> all = {&choices[0], &choices[1], &choices[2]};
  for (int step = 0; step < 6; ++step) Step(all);
  EXPECT_EQ(log.replays, 4);
  EXPECT_EQ(executor_->graphs().replays, 4u);
  // A step in which a row samples twice and another not at all, and a block is copied.
  scheduling::StepPlan plan = PlanOf(all);
  plan.samples = {plan.samples[1], plan.samples[2], plan.samples[2]};
  const BlockId copy(kBlocks - 1);
  plan.copies.push_back({.from = choices[2].blocks[0], .to = copy});
  plan.chunks[2].blocks = {&copy, 1};
  const std::vector<SampledToken> tokens = Run(plan);
  ASSERT_EQ(tokens.size(), 3u);
  choices[1].tokens.push_back(tokens[0].token);
  choices[2].tokens.push_back(tokens[1].token);
  EXPECT_EQ(tokens[1].token, tokens[2].token);
  EXPECT_EQ(log.replays, 5);
  EXPECT_EQ(choices[0].Answer(), Reference(prompts[0], 6));
  EXPECT_EQ(choices[1].Answer(), Reference(prompts[1], 7));
  EXPECT_EQ(choices[2].Answer(), Reference(prompts[2], 7));
  log.next_capture = absl::ResourceExhaustedError("no memory");
  for (int step = 0; step < 3; ++step) Step({&choices[1]});
  EXPECT_EQ(choices[1].Answer(), Reference(prompts[1], 10)) << "not recorded, but run";
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("no memory")));
  EXPECT_EQ(log.there, 1);
  executor_->RemoveVersion(kVersion);
  EXPECT_EQ(log.there, 0) << "before the weights that it reads";
  executor_ = nullptr;
}

TEST_F(TorchExecutorTest, RecordedStepsMakeWayWhenMemoryIsShort) {
  const auto model = std::make_shared<TorchModel>(kVersion, llava_);
  GraphLog log;
  auto executor = TorchExecutor::Create(
      model->kv_shapes(), kBlocks, /*threads=*/0,
      {.backend = std::make_unique<ReplayingGraphs>(&log), .max_bytes = log.bytes});
  ASSERT_TRUE(executor.ok()) << executor.status();
  executor_ = *std::move(executor);
  ASSERT_EQ(executor_->AddVersion(model), absl::OkStatus());
  Choice choice(1, {1, 300, 17});
  for (int step = 0; step < 4; ++step) Step({&choice});
  EXPECT_EQ(log.there, 1);
  log.before_replay = [] { TORCH_CHECK_WITH(OutOfMemoryError, false, "no memory"); };
  const std::size_t computed = choice.computed;
  const absl::Status failed = executor_->Launch(PlanOf({&choice}));
  EXPECT_EQ(failed.code(), absl::StatusCode::kResourceExhausted) << failed;
  EXPECT_EQ(log.there, 0);
  EXPECT_EQ(executor_->graphs().bytes, 0);
  log.before_replay = [] {};
  choice.computed = computed;
  for (int step = 0; step < 3; ++step) Step({&choice});
  EXPECT_EQ(choice.Answer(), Reference({1, 300, 17}, 7));
  executor_ = nullptr;
}

// The same model dealt out to two ranks, which share every step.
class TwoRanksTest : public TorchExecutorTest {
 protected:
  void SetUp() override {
    model::TurnOffFlightRecorder();
    model::LoadOptions options{.pack = true, .shard = {.rank = 0, .size = 2}};
    auto first = model::Llava::Load(model::GoldenCheckpointDir(), options);
    options.shard.rank = 1;
    auto second = model::Llava::LoadLayers(model::GoldenCheckpointDir(), options);
    ASSERT_TRUE(first.ok() && second.ok()) << first.status() << second.status();
    std::vector<std::shared_ptr<const model::DecoderLayers>> others;
    others.push_back(*std::move(second));
    parts_ =
        std::make_shared<TorchModel>(kVersion, *std::move(first), std::nullopt, std::move(others));
    auto executor = TorchExecutor::Create(parts_->kv_shapes(), kBlocks, /*threads=*/2);
    ASSERT_TRUE(executor.ok()) << executor.status();
    executor_ = *std::move(executor);
    const absl::Status added = executor_->AddVersion(parts_);
    ASSERT_TRUE(added.ok()) << added;
  }

  std::shared_ptr<const TorchModel> parts_;
};

TEST_F(TwoRanksTest, EachHasHalfOfTheKeysAndValues) {
  const TorchModel whole(kVersion, llava_);
  EXPECT_EQ(parts_->ranks(), 2);
  EXPECT_EQ(2 * parts_->kv_shape(0).kv_heads, whole.kv_shape().kv_heads);
  EXPECT_EQ(parts_->kv_shape(1), parts_->kv_shape(0));  // both are on the CPU
  EXPECT_EQ(parts_->devices().size(), 2u);
}

// A prompt that is cut, beside others, and steps in which all of them sample, again and again: what
// one device gives.
TEST_F(TwoRanksTest, TogetherTheyGiveTheAnswersOfOne) {
  const std::vector<std::int32_t> prompts[] = {{1, 300, 17, 5, 40, 41, 42}, {1, 9}, {1, 700, 12}};
  std::vector<Choice> choices;
  for (int i = 0; i < 3; ++i) choices.emplace_back(i + 1, prompts[i]);
  const std::vector<Choice*> all = {&choices[0], &choices[1], &choices[2]};
  const std::vector<SampledToken> tokens = Run(PlanOf(all, 3));
  ASSERT_EQ(tokens.size(), 2u);
  choices[1].tokens.push_back(tokens[0].token);
  choices[2].tokens.push_back(tokens[1].token);
  for (int step = 0; step < 9; ++step) Step(all);
  for (const Choice& choice : choices) {
    const std::vector<std::int32_t> answer = choice.Answer();
    EXPECT_EQ(answer,
              Reference(prompts[&choice - choices.data()], static_cast<int>(answer.size())));
  }
}

TEST_F(TwoRanksTest, ABlockIsCopiedOnBoth) {
  Choice choice(1, {1, 300, 17});
  Step({&choice});
  const BlockId copy(50);
  scheduling::StepPlan plan = PlanOf({&choice});
  plan.copies.push_back({.from = choice.blocks[0], .to = copy});
  plan.chunks[0].blocks = {&copy, 1};
  const std::vector<SampledToken> tokens = Run(plan);
  ASSERT_EQ(tokens.size(), 1u);
  EXPECT_EQ(tokens[0].token, Reference({1, 300, 17}, 2)[1]);
}

TEST_F(TwoRanksTest, RunsTheStepThatIsMeasured) {
  for (const int tokens : {1, 33}) {
    EXPECT_EQ(server::RunStep(*parts_, tokens), absl::OkStatus()) << tokens;
  }
}

TEST_F(TorchExecutorTest, RefusesAVersionWhoseKeysAndValuesDiffer) {
  auto other =
      model::Llava::Load(model::GoldenCheckpointDir(), {.dtype = at::kBFloat16, .pack = true});
  ASSERT_TRUE(other.ok()) << other.status();
  const absl::Status status =
      executor_->AddVersion(std::make_shared<TorchModel>(Sha256Of("other"), *std::move(other)));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("BFloat16"));
}

TEST_F(TorchExecutorTest, CreateSaysWhatTheKernelsDoNotTake) {
  model::KvShape shape = TorchModel(kVersion, llava_).kv_shape();
  shape.head_dim = kMaxHeadDim + 2;
  const absl::Status status = TorchExecutor::Create({&shape, 1}, kBlocks).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("258"));
}

}  // namespace
}  // namespace llava::engine
