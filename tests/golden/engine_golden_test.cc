// The whole engine on the golden checkpoint: whoever shares the batch, however prompts are cut,
// whatever comes from a cache and after whatever preemption, the answer is the reference's.
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "base/file.h"
#include "model/image/image.h"
#include "model/image/preprocess.h"
#include "server/engine/engine.h"
#include "server/torch/torch_executor.h"
#include "tests/golden/golden_data.h"

namespace llava::engine {
namespace {

using model::GoldenCase;
using model::GoldenCases;
using ::testing::ElementsAreArray;

const Digest kVersion = Sha256Of("golden");

// The engine does not need text here.
class NoText final : public TextDecoder {
 public:
  bool may_stop() const override { return false; }
  Delta Push(std::int32_t) override { return {}; }
  Delta Finish() override { return {}; }
};

// A millisecond passes between two looks, so that every step costs the same however busy the
// machine is. Used by one thread.
class SteadyClock final : public Clock {
 public:
  TimePoint Now() const override { return now_ += std::chrono::milliseconds(1); }
  std::int64_t UnixMillis() const override { return 0; }

 private:
  mutable TimePoint now_{};
};

struct Answer {
  std::vector<std::int64_t> tokens;
  End end;
};

class EngineGoldenTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { llava_ = model::LoadGolden(at::kFloat, /*pack=*/true); }
  static void TearDownTestSuite() { llava_.reset(); }

  static scheduling::SchedulerOptions Roomy() {
    scheduling::SchedulerOptions options;
    options.num_blocks = 1024;
    options.max_batch_tokens = 2048;
    options.max_images_per_step = 8;
    options.max_context_tokens = 512;
    return options;
  }

  void Start(const scheduling::SchedulerOptions& options) {
    EngineOptions engine_options;
    engine_options.scheduler = options;
    auto torch_model = std::make_shared<TorchModel>(kVersion, llava_);
    engine_options.scheduler.feature_bytes_per_token = torch_model->feature_bytes_per_token();
    auto executor = TorchExecutor::Create(torch_model->kv_shapes(), options.num_blocks);
    ASSERT_TRUE(executor.ok()) << executor.status();
    engine_ = std::make_unique<Engine>(engine_options, *std::move(executor), &clock_, nullptr);
    absl::Status added = absl::UnknownError("not called");
    engine_->AddVersion(torch_model, [&](absl::Status status) { added = std::move(status); });
    engine_->RunOnce();
    ASSERT_TRUE(added.ok()) << added;
  }
  void TearDown() override {
    if (engine_ != nullptr) engine_->Stop();
  }

  static scheduling::Request RequestOf(const GoldenCase& golden) {
    scheduling::Request request;
    request.version = kVersion;
    request.prompt_ids.assign(golden.input_ids.begin(), golden.input_ids.end());
    request.sampling.max_tokens = static_cast<int>(golden.greedy_ids.size());
    const std::vector<std::int64_t> rows = golden.ImageRows();
    const std::int64_t count = llava_->config().tile_tokens();
    const auto settings =
        model::ReadPreprocessSettings(model::GoldenCheckpoint(), llava_->config());
    EXPECT_TRUE(settings.ok()) << settings.status();
    const model::Preprocessor preprocessor(*settings);
    for (std::size_t i = 0; i < golden.images.size(); ++i) {
      const auto picture = model::DecodeImage(*ReadFile(golden.images[i], 1 << 20));
      EXPECT_TRUE(picture.ok()) << picture.status();
      model::PixelValues pixels = preprocessor.Process(*picture);
      scheduling::ImageInput& image = request.images.emplace_back();
      image.offset = static_cast<int>(rows[i * count]);
      image.count = static_cast<int>(count);
      image.height = pixels.height;
      image.width = pixels.width;
      image.pixels_CHW = std::move(pixels.bytes);
      image.pixel_table = std::move(pixels.table);
      image.digest = pixels.digest;
    }
    return request;
  }

  // Runs all of them together until the last has ended.
  std::vector<Answer> Ask(std::vector<scheduling::Request> requests) {
    std::vector<TokenStream> streams;
    for (scheduling::Request& request : requests) {
      request.arrival = clock_.Now();
      auto ticket = gate_.Enter("", {.requests = 1, .tokens = 0, .bytes = 0, .pixels = 0});
      EXPECT_TRUE(ticket.ok());
      auto stream = engine_->Submit(
          {std::move(request), *std::move(ticket), [] { return std::make_unique<NoText>(); }});
      EXPECT_TRUE(stream.ok()) << stream.status();
      streams.push_back(*std::move(stream));
    }
    std::vector<Answer> answers(streams.size());
    std::size_t ended = 0;
    for (int step = 0; ended < streams.size() && step < 100000; ++step) {
      engine_->RunOnce();
      for (std::size_t i = 0; i < streams.size(); ++i) {
        while (auto event = streams[i].TryPop([] {})) {
          if (auto* end = std::get_if<End>(&*event)) {
            answers[i].end = std::move(*end);
            EXPECT_TRUE(answers[i].end.status.ok()) << answers[i].end.status;
            ++ended;
            break;
          }
          for (const auto& token : std::get<Delta>(*event).tokens) {
            answers[i].tokens.push_back(token.token);
          }
        }
      }
    }
    EXPECT_EQ(ended, streams.size());
    return answers;
  }

  // `copies` of each case, together.
  std::vector<Answer> AskAll(int copies) {
    std::vector<scheduling::Request> requests;
    for (int i = 0; i < copies; ++i) {
      for (const GoldenCase& golden : GoldenCases()) requests.push_back(RequestOf(golden));
    }
    return Ask(std::move(requests));
  }

  static void ExpectGolden(const std::vector<Answer>& answers) {
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const GoldenCase& golden = GoldenCases()[i % GoldenCases().size()];
      EXPECT_THAT(answers[i].tokens, ElementsAreArray(golden.greedy_ids)) << golden.name;
    }
  }

  SteadyClock clock_;
  AdmissionGate gate_{{}, &clock_};
  std::unique_ptr<Engine> engine_;
  static inline std::shared_ptr<const model::Llava> llava_;
};

TEST_F(EngineGoldenTest, AloneEveryAnswerIsTheReferences) {
  for (const GoldenCase& golden : GoldenCases()) {
    Start(Roomy());
    const std::vector<Answer> answers = Ask({RequestOf(golden)});
    EXPECT_THAT(answers[0].tokens, ElementsAreArray(golden.greedy_ids)) << golden.name;
    EXPECT_EQ(answers[0].end.usage.images_encoded, static_cast<int>(golden.images.size()));
    engine_->Stop();
  }
}

TEST_F(EngineGoldenTest, AmongThirtyFiveOthersNothingChanges) {
  Start(Roomy());
  ExpectGolden(AskAll(6));
}

TEST_F(EngineGoldenTest, InSmallPiecesNothingChanges) {
  scheduling::SchedulerOptions options = Roomy();
  options.max_batch_tokens = 7;
  options.max_running = 5;
  options.max_images_per_step = 1;
  options.prefix_cache = false;
  Start(options);
  ExpectGolden(AskAll(2));
}

TEST_F(EngineGoldenTest, FromTheCachesNothingChanges) {
  Start(Roomy());
  ExpectGolden(AskAll(1));
  const std::vector<Answer> again = AskAll(1);
  ExpectGolden(again);
  for (std::size_t i = 0; i < again.size(); ++i) {
    EXPECT_GT(again[i].end.usage.cached_tokens, 0) << GoldenCases()[i].name;
    EXPECT_EQ(again[i].end.usage.images_encoded, 0) << GoldenCases()[i].name;
  }
}

TEST_F(EngineGoldenTest, AfterPreemptionNothingChanges) {
  scheduling::SchedulerOptions options = Roomy();
  std::size_t longest = 0;
  for (const GoldenCase& golden : GoldenCases()) {
    longest = std::max(longest, golden.input_ids.size() + golden.greedy_ids.size());
  }
  // Room for two long ones: the others' answers grow into it and push somebody out.
  options.num_blocks = static_cast<int>(2 * (longest + 15) / 16);
  options.max_context_tokens = static_cast<int>(longest + 1);
  options.prefix_cache = false;
  Start(options);
  ExpectGolden(AskAll(3));
  EXPECT_GT(engine_->stats().scheduler.planner.preemptions, 0u);
}

// Answers that repeat themselves, for two tokens are far likelier than all others: greedy, drawn,
// with penalties that depend on what was said before, with log probabilities.
TEST_F(EngineGoldenTest, DraftsChangeNothingAndSaveSteps) {
  std::vector<std::vector<std::int64_t>> answers[2];
  std::uint64_t steps[2] = {0, 0};
  for (const int drafts : {0, 15}) {
    scheduling::SchedulerOptions options = Roomy();
    options.draft_tokens = drafts;
    for (std::size_t i = 0; i < GoldenCases().size(); ++i) {
      Start(options);
      scheduling::Request request = RequestOf(GoldenCases()[i]);
      request.sampling.max_tokens = 60;
      request.sampling.ignore_eos = true;
      request.sampling.logit_bias = {{7, 12.0f}, {8, 12.5f}};
      request.sampling.temperature = i % 2 == 0 ? 0 : 0.7;
      request.sampling.seed = i;
      if (i % 3 == 0) request.sampling.frequency_penalty = 0.05;
      request.sampling.top_logprobs = 2;
      answers[drafts > 0].push_back(Ask({std::move(request)})[0].tokens);
      const EngineStats stats = engine_->stats();
      steps[drafts > 0] += stats.steps;
      EXPECT_EQ(stats.scheduler.planner.true_drafts > 0, drafts > 0) << GoldenCases()[i].name;
      engine_->Stop();
    }
  }
  EXPECT_EQ(answers[0], answers[1]);
  EXPECT_LT(10 * steps[1], 9 * steps[0]);
}

TEST_F(EngineGoldenTest, ASeededAnswerDoesNotDependOnTheCompany) {
  const auto seeded = [](std::size_t i) {
    scheduling::Request request = RequestOf(GoldenCases()[i]);
    request.sampling.temperature = 0.9;
    request.sampling.top_p = 0.95;
    request.sampling.seed = 100 + i;
    request.n = 2;
    return request;
  };
  Start(Roomy());
  std::vector<scheduling::Request> all;
  for (std::size_t i = 0; i < GoldenCases().size(); ++i) {
    all.push_back(seeded(i));
    all.push_back(RequestOf(GoldenCases()[i]));
  }
  const std::vector<Answer> together = Ask(std::move(all));
  engine_->Stop();
  for (std::size_t i = 0; i < GoldenCases().size(); ++i) {
    Start(Roomy());
    auto sorted = [](std::vector<std::int64_t> tokens) {  // the two choices may be interleaved
      std::sort(tokens.begin(), tokens.end());
      return tokens;
    };
    const std::vector<Answer> alone = Ask({seeded(i)});
    EXPECT_EQ(sorted(alone[0].tokens), sorted(together[2 * i].tokens));
    EXPECT_EQ(alone[0].tokens.size(), 2 * GoldenCases()[i].greedy_ids.size());
    engine_->Stop();
  }
}

TEST_F(EngineGoldenTest, KeysAndValuesInCodesAreOneCacheForOneKindOfModel) {
  const auto codes = std::make_shared<TorchModel>(kVersion, llava_, at::kChar);
  EXPECT_LT(model::KvCache::BlockBytes(codes->kv_shape()),
            model::KvCache::BlockBytes(TorchModel(kVersion, llava_).kv_shape()) / 2);
  auto executor = TorchExecutor::Create(codes->kv_shapes(), 4);
  ASSERT_TRUE(executor.ok()) << executor.status();
  const absl::Status status =
      (*executor)->AddVersion(std::make_shared<TorchModel>(kVersion, llava_));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("int8"));
  EXPECT_TRUE((*executor)->AddVersion(codes).ok());
}

TEST_F(EngineGoldenTest, AModelOfAnotherShapeIsRefused) {
  const TorchModel torch_model(kVersion, llava_);
  model::KvShape shape = torch_model.kv_shape();
  shape.layers += 1;
  auto executor = TorchExecutor::Create({&shape, 1}, 4);
  ASSERT_TRUE(executor.ok());
  const absl::Status status =
      (*executor)->AddVersion(std::make_shared<TorchModel>(kVersion, llava_));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("3 layers"));
}

}  // namespace
}  // namespace llava::engine
