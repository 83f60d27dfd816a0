// Choosing a token from a row of 32,064 logits, by parameters and by how the logits are spread:
// with a standard deviation of 2 thousands of tokens are likely (random weights), with 6 some
// dozens.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/rng.h"
#include "model/network/sampler.h"

namespace llava::model {
namespace {

constexpr int kVocabulary = 32064, kRows = 16;  // rows in turn: 2 MB

using Rows = std::vector<std::vector<float>>;

Rows RandomRows(double deviation) {
  Rng rng(3);
  Rows rows(kRows);
  for (std::vector<float>& row : rows) {
    for (int i = 0; i < kVocabulary; ++i) {
      row.push_back(static_cast<float>(rng.Normal() * deviation));
    }
  }
  return rows;
}

void BM_Sample(benchmark::State& state, const SamplingParams& params, const Rows& rows) {
  const LogitsProcessors processors = MakeLogitsProcessors(params, {});
  const std::vector<std::int32_t> prompt(700, 9);
  Sampler sampler;
  std::uint64_t turn = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(sampler.Sample(
        rows[turn % kRows],
        {.params = &params, .tokens = {prompt, {}}, .processors = processors, .seed = turn}));
    ++turn;
  }
}

void Register(const std::string& name, const std::function<void(SamplingParams&)>& set) {
  SamplingParams params;
  params.temperature = 1.0;
  set(params);
  for (const int deviation : {2, 6}) {
    static const Rows flat = RandomRows(2), peaked = RandomRows(6);
    const std::string full = name + "/deviation:" + std::to_string(deviation);
    benchmark::RegisterBenchmark(full.c_str(), [=](benchmark::State& state) {
      BM_Sample(state, params, deviation == 2 ? flat : peaked);
    })->Unit(benchmark::kMicrosecond);
  }
}

void RegisterAll() {
  Register("greedy", [](SamplingParams& p) { p.temperature = 0.0; });
  Register("temperature", [](SamplingParams&) {});
  Register("top_k:40", [](SamplingParams& p) { p.top_k = 40; });
  Register("top_p:0.5", [](SamplingParams& p) { p.top_p = 0.5; });
  Register("top_p:0.95", [](SamplingParams& p) { p.top_p = 0.95; });
  Register("min_p:0.05", [](SamplingParams& p) { p.min_p = 0.05; });
  Register("top_k:40,top_p:0.9,temperature:0.7", [](SamplingParams& p) {
    p.top_k = 40;
    p.top_p = 0.9;
    p.temperature = 0.7;
  });
  Register("top_p:0.9,repetition_penalty:1.1,temperature:0.7", [](SamplingParams& p) {
    p.top_p = 0.9;
    p.repetition_penalty = 1.1;
    p.temperature = 0.7;
  });
  Register("top_logprobs:20,greedy", [](SamplingParams& p) {
    p.temperature = 0.0;
    p.top_logprobs = 20;
  });
}

}  // namespace
}  // namespace llava::model

int main(int argc, char** argv) {
  llava::model::RegisterAll();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
