// From the prompt's text and the image's file to the answer: ids, pixel values, the answer with a
// KV cache, and bf16.
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>

#include "base/file.h"
#include "model/image/image.h"
#include "model/image/preprocess.h"
#include "model/network/session.h"
#include "model/text/prompt.h"
#include "model/text/tokenizer.h"
#include "server/commands/generate_command.h"
#include "tests/golden/golden_data.h"
#include "tests/support/layouts.h"
#include "tests/support/test_device.h"

namespace llava::model {
namespace {

constexpr double kFp32Tolerance = 1e-4;
// Of teacher-forced bf16 logits, whose size is about 3: the reference's own bf16 is as far away.
constexpr double kBf16Tolerance = 0.15;
// Below it the reference's own bf16 leaves the fp32 path.
constexpr double kBf16Margin = 0.03;

class GoldenAnswer : public testing::TestWithParam<std::size_t> {
 protected:
  static void SetUpTestSuite() {
    fp32_ = LoadGolden(at::kFloat);
    bf16_ = LoadGolden(at::kBFloat16);
    auto tokenizer = Tokenizer::Load(GoldenCheckpoint(), Layout::kHuggingFace);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = std::make_unique<Tokenizer>(*std::move(tokenizer));
  }
  static void TearDownTestSuite() {
    fp32_.reset();
    bf16_.reset();
    tokenizer_.reset();
  }

  const GoldenCase& golden() const { return GoldenCases().at(GetParam()); }

  PromptTokens Prompt() const {
    auto prompt = BuildRawPrompt(golden().prompt, *tokenizer_, fp32_->config(),
                                 Layouts(fp32_->config(), golden().images.size()));
    EXPECT_TRUE(prompt.ok()) << prompt.status();
    return *std::move(prompt);
  }

  at::Tensor Pixels() const {
    const auto settings = ReadPreprocessSettings(GoldenCheckpoint(), fp32_->config());
    EXPECT_TRUE(settings.ok()) << settings.status();
    const Preprocessor preprocessor(*settings);
    std::vector<at::Tensor> pixels;
    for (const std::string& path : golden().images) {
      const auto image = DecodeImage(*ReadFile(path, 1 << 20));
      EXPECT_TRUE(image.ok()) << image.status();
      const PixelValues values = preprocessor.Process(*image);
      pixels.push_back(at::tensor(values.Floats()).view({3, values.height, values.width}));
    }
    return at::stack(pixels);
  }

  // The session after the prompt, and the logits of what follows it.
  at::Tensor Start(const Llava& model, Session& session) const {
    at::Tensor features;
    if (!golden().images.empty()) features = model.EncodeImages(Pixels().to(TestDevice()));
    const at::Tensor hidden = session.Append(EmbedPrompt(model, Prompt(), features));
    return model.Logits(hidden.slice(0, -1)).squeeze(0);
  }

  c10::InferenceMode inference_;
  static inline std::unique_ptr<Llava> fp32_;
  static inline std::unique_ptr<Llava> bf16_;
  static inline std::unique_ptr<Tokenizer> tokenizer_;
};

std::string CaseName(const testing::TestParamInfo<std::size_t>& info) {
  return GoldenCases().at(info.param).name;
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenAnswer, testing::Range<std::size_t>(0, 6), CaseName);

// One id per image token, nothing inserted around the images, BOS once and at the start.
TEST_P(GoldenAnswer, PromptIdsAreExact) {
  const std::vector<int> ids = Prompt().ids;
  EXPECT_THAT(ids, testing::ElementsAreArray(golden().input_ids));
  EXPECT_EQ(ids.front(), tokenizer_->bos_id());
  EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer_->bos_id()), 1);
}

TEST_P(GoldenAnswer, PixelValuesEqualTheReference) {
  if (golden().images.empty()) return;
  EXPECT_LT(MaxDifference(Pixels(), golden().Tensor("pixel_values")), kFp32Tolerance);
}

TEST_P(GoldenAnswer, GreedyIdsWithACacheEqualTheReference) {
  Session session(*fp32_);
  at::Tensor logits = Start(*fp32_, session);
  const at::Tensor expected = golden().Tensor("step_logits");
  for (std::size_t step = 0; step < golden().greedy_ids.size(); ++step) {
    EXPECT_LT(MaxDifference(logits, expected[static_cast<std::int64_t>(step)]), kFp32Tolerance);
    ASSERT_EQ(logits.argmax().item<std::int64_t>(), golden().greedy_ids[step]) << "step " << step;
    logits = session.Step(golden().greedy_ids[step]);
  }
}

// The prompt in two parts gives what it gives at once.
TEST_P(GoldenAnswer, AnyCutOfThePromptGivesTheSame) {
  at::Tensor features;
  if (!golden().images.empty()) features = fp32_->EncodeImages(Pixels().to(TestDevice()));
  const at::Tensor rows = EmbedPrompt(*fp32_, Prompt(), features);
  Session whole(*fp32_);
  const at::Tensor expected = whole.Append(rows);
  for (std::int64_t cut = 1; cut < rows.size(0); cut += 7) {
    Session session(*fp32_);
    session.Append(rows.slice(0, 0, cut));
    const at::Tensor rest = session.Append(rows.slice(0, cut));
    EXPECT_LT(MaxDifference(rest, expected.slice(0, cut)), kFp32Tolerance) << cut;
  }
}

TEST_P(GoldenAnswer, TeacherForcedBf16LogitsAreNear) {
  Session session(*bf16_);
  at::Tensor logits = Start(*bf16_, session);
  const at::Tensor expected = golden().Tensor("step_logits");
  double worst = 0;
  for (std::size_t step = 0; step < golden().greedy_ids.size(); ++step) {
    worst = std::max(worst, MaxDifference(logits, expected[static_cast<std::int64_t>(step)]));
    logits = session.Step(golden().greedy_ids[step]);
  }
  RecordProperty("largest_difference", std::to_string(worst));
  EXPECT_LT(worst, kBf16Tolerance);
}

TEST_P(GoldenAnswer, GreedyBf16IdsEqualTheReferenceUpToASmallMargin) {
  Session session(*bf16_);
  at::Tensor logits = Start(*bf16_, session);
  for (std::size_t step = 0; step < golden().greedy_ids.size(); ++step) {
    if (golden().greedy_margins[step] < kBf16Margin) return;
    ASSERT_EQ(logits.argmax().item<std::int64_t>(), golden().greedy_ids[step]) << "step " << step;
    logits = session.Step(golden().greedy_ids[step]);
  }
}

TEST_P(GoldenAnswer, TheGenerateCommandPrintsTheReferencesIds) {
  GenerateOptions options;
  options.directory = GoldenCheckpoint();
  options.images = golden().images;
  options.prompt = golden().prompt;
  options.raw = true;
  options.json = true;
  options.ignore_eos = true;
  options.max_tokens = 32;
  std::string out;
  const absl::Status status = Generate(options, [&](std::string_view text) { out += text; });
  ASSERT_TRUE(status.ok()) << status;
  const boost::json::value answer = boost::json::parse(out);
  EXPECT_EQ(boost::json::value_to<std::vector<std::int64_t>>(answer.at("prompt_ids")),
            golden().input_ids);
  EXPECT_EQ(boost::json::value_to<std::vector<std::int64_t>>(answer.at("answer_ids")),
            golden().greedy_ids);
  EXPECT_EQ(
      boost::json::value_to<std::string>(answer.at("text")),
      tokenizer_->Decode(std::vector<int>(golden().greedy_ids.begin(), golden().greedy_ids.end())));
}

}  // namespace
}  // namespace llava::model
