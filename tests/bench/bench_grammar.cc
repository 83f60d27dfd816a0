// What a form costs: the time of a mask, and the mean time of a decode step of 1, 16 and 64 answers
// with and without one, after each other on the same device. Usage:
// bench_grammar [CHECKPOINT [DEVICE]]
#include <c10/core/Device.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/rng.h"
#include "model/grammar/grammar_compiler.h"
#include "model/network/llava.h"
#include "model/text/tokenizer.h"
#include "server/torch/torch_executor.h"

namespace llava {
namespace {

constexpr int kMostAnswers = 64;
constexpr int kSteps = 40;
constexpr int kWarmUp = 8;
constexpr int kMasks = 200;
constexpr int kBlocksOfOne = (kSteps + kKvBlockTokens) / kKvBlockTokens;
// Never complete within the steps.
constexpr char kSchema[] =
    R"({"type": "array", "minItems": 60, "items": {"type": "object",
        "properties": {"name": {"type": "string"}, "price": {"type": "number"},
                       "kind": {"enum": ["fruit", "bread", "drink"]}, "paid": {"type": "boolean"}},
        "required": ["name", "price", "kind", "paid"], "additionalProperties": false}})";

struct Answer {
  std::vector<std::int32_t> tokens;  // the first stands for the prompt
  std::vector<scheduling::BlockId> blocks;
};

class Bench {
 public:
  Bench(const std::string& dir, const at::Device& device) {
    auto config = model::ReadConfig(dir, "");
    LLAVA_CHECK(config.ok());
    auto tokenizer = model::Tokenizer::Load(dir, config->layout);
    LLAVA_CHECK(tokenizer.ok());
    auto grammars = model::GrammarCompiler::Create(*tokenizer, config->text.eos_token_ids,
                                                   static_cast<int>(config->text.vocab_size));
    LLAVA_CHECK(grammars.ok());
    auto constraint =
        (*grammars)->Compile({.kind = model::AnswerFormat::Kind::kJsonSchema, .text = kSchema});
    LLAVA_CHECK(constraint.ok());
    constraint_ = *std::move(constraint);
    bos_ = tokenizer->bos_id();
    auto llava = model::Llava::Load(dir, {.dtype = at::kBFloat16, .device = device, .pack = true});
    LLAVA_CHECK(llava.ok());
    auto model = std::make_shared<engine::TorchModel>(version_, *std::move(llava));
    auto executor = engine::TorchExecutor::Create(model->kv_shapes(), kMostAnswers * kBlocksOfOne);
    LLAVA_CHECK(executor.ok());
    executor_ = *std::move(executor);
    LLAVA_CHECK(executor_->AddVersion(model).ok());
  }

  struct MaskTime {
    double mean = 0, longest = 0;  // seconds
  };

  // Along one answer of tokens that are any of those allowed, on this thread.
  MaskTime TimeOfMasks() const {
    Rng rng(1);
    MaskTime time;
    const auto answer = constraint_->Begin();
    for (int i = 0; i < kMasks; ++i) {
      const TimePoint start = RealClock().Now();
      const auto allowed = answer->Allowed();
      const double seconds = Seconds(RealClock().Now() - start);
      LLAVA_CHECK(allowed.ok());
      time.mean += seconds / kMasks;
      time.longest = std::max(time.longest, seconds);
      LLAVA_CHECK(answer->Append(AnyOf(*allowed, rng)).ok());
    }
    return time;
  }

  // Seconds.
  double MeanStep(int count, bool has_form) {
    SamplingParams params;
    params.temperature = 1;
    params.ignore_eos = !has_form;
    if (has_form) params.constraint = constraint_;
    std::vector<Answer> answers(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
      answers[i].tokens.push_back(bos_);
      for (int b = 0; b < kBlocksOfOne; ++b) answers[i].blocks.emplace_back(i * kBlocksOfOne + b);
    }
    ++runs_;
    TimePoint start;
    for (int step = 0; step < kSteps; ++step) {
      if (step == kWarmUp) start = RealClock().Now();
      Step(params, step, answers);
    }
    return Seconds(RealClock().Now() - start) / (kSteps - kWarmUp);
  }

 private:
  static std::int32_t AnyOf(std::span<const std::uint32_t> allowed, Rng& rng) {
    std::vector<std::int32_t> tokens;
    for (std::size_t t = 0; t < 32 * allowed.size(); ++t) {
      if ((allowed[t / 32] >> t % 32 & 1) != 0) tokens.push_back(static_cast<std::int32_t>(t));
    }
    LLAVA_CHECK(!tokens.empty());
    return tokens[rng.Below(tokens.size())];
  }

  void Step(const SamplingParams& params, int step, std::vector<Answer>& answers) {
    scheduling::StepPlan plan;
    plan.version = version_;
    const auto count = static_cast<int>(answers.size());
    plan.total_tokens = count;
    for (int i = 0; i < count; ++i) {
      const scheduling::SequenceId id(static_cast<std::uint64_t>(runs_ * kMostAnswers + i));
      const std::span<const std::int32_t> tokens(answers[i].tokens);
      plan.chunks.push_back({.sequence = id,
                             .start = step,
                             .first_token = i,
                             .token_ids = tokens.last(1),
                             .blocks = answers[i].blocks});
      plan.samples.push_back({.row = i,
                              .sequence = id,
                              .params = &params,
                              .prompt_ids = tokens.first(1),
                              .output_ids = tokens.subspan(1),
                              .seed = static_cast<std::uint64_t>(i)});
    }
    LLAVA_CHECK(executor_->Launch(plan).ok());
    const auto collected = executor_->Collect();
    LLAVA_CHECK(collected.ok());
    const scheduling::StepResult& result = collected->result;
    LLAVA_CHECK(result.failed.empty());
    for (int i = 0; i < count; ++i) answers[i].tokens.push_back(result.tokens[i].token);
  }

  const Digest version_ = Sha256Of("bench");
  std::shared_ptr<const model::TokenConstraint> constraint_;
  std::unique_ptr<engine::TorchExecutor> executor_;
  int bos_ = 0;
  int runs_ = 0;
};

}  // namespace
}  // namespace llava

int main(int argc, char** argv) {
  llava::Bench bench(argc > 1 ? argv[1] : "demo/checkpoint",
                     at::Device(argc > 2 ? argv[2] : "cpu"));
  const llava::Bench::MaskTime mask = bench.TimeOfMasks();
  std::printf("a mask: %.0f us, the longest of %d %.0f us\n", mask.mean * 1e6, llava::kMasks,
              mask.longest * 1e6);
  for (const int answers : {1, 16, llava::kMostAnswers}) {
    const double without = bench.MeanStep(answers, false);
    const double with = bench.MeanStep(answers, true);
    std::printf(
        "step of %d answers: %.0f us without a form, %.0f us with one (%+.1f %%, %.1f us an "
        "answer)\n",
        answers, without * 1e6, with * 1e6, (with / without - 1) * 100,
        (with - without) * 1e6 / answers);
    std::fflush(stdout);
  }
}
