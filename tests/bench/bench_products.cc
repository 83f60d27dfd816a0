// Products of activations with a weight matrix of a decoder layer, for each set of kernels that
// this processor runs and for ATen: one row and eight (decoding), and a prompt's. Before them what
// bounds them: how fast this machine reads memory, and how fast loops of nothing but the kernels'
// arithmetic run. Of a product with few rows compare "weight B/s" with the former, of one with many
// rows "OP/s" with the latter.
#include <ATen/Parallel.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "model/kernels/cpu/dispatch.h"
#include "model/kernels/cpu/large_pages.h"
#include "model/kernels/cpu/packed_matrix.h"
#include "model/kernels/cpu/worker_pool.h"
#include "tests/bench/bare_loops.h"

namespace llava::model {
namespace {

constexpr std::int64_t kIn = 2048, kOut = 11008;
constexpr int kMatrices = 8;  // in turn, so that weights come from memory, as those of a model do

// product(i, x) multiplies x [rows, kIn] with matrix i, which takes `bytes` of memory.
template <typename Product>
void Measure(benchmark::State& state, std::int64_t bytes, const Product& product) {
  const at::Tensor x = at::randn({state.range(0), kIn});
  int next = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(product(next, x));
    next = (next + 1) % kMatrices;
  }
  using benchmark::Counter;
  const auto times = static_cast<double>(state.iterations());
  state.counters["OP/s"] =
      Counter(2.0 * static_cast<double>(state.range(0) * kIn * kOut) * times, Counter::kIsRate);
  state.counters["weight B/s"] = Counter(static_cast<double>(bytes) * times, Counter::kIsRate);
}

std::vector<at::Tensor> Weights(at::ScalarType dtype) {
  std::vector<at::Tensor> weights;
  for (int i = 0; i < kMatrices; ++i) weights.push_back(at::randn({kOut, kIn}).to(dtype));
  return weights;
}

void BM_Packed(benchmark::State& state, const KernelTable* kernels, WeightFormat format) {
  std::vector<PackedMatrix> matrices;
  for (const at::Tensor& weight : Weights(at::kFloat)) {
    matrices.emplace_back(std::span(&weight, 1), format, *kernels);
  }
  Measure(state, matrices.front().bytes(),
          [&](int i, const at::Tensor& x) { return matrices[i].Multiply(x, {}); });
}

// Every thread sums its part of more memory than caches hold.
void BM_ReadMemory(benchmark::State& state) {
  constexpr std::int64_t kBytes = std::int64_t{512} << 20, kJob = std::int64_t{1} << 20;
  const at::Tensor memory = EmptyInLargePages({kBytes}, at::kByte).fill_(1);
  const auto* const begin = memory.const_data_ptr<std::uint8_t>();
  for (auto _ : state) {
    ParallelJobs(kBytes / kJob, ThreadsFor(kBytes), [&](std::int64_t job) {
      benchmark::DoNotOptimize(bench::SumOfWords(begin + job * kJob, kJob));
    });
  }
  state.SetBytesProcessed(state.iterations() * kBytes);
}

void BM_BareLoop(benchmark::State& state, const bench::BareLoop* loop) {
  const std::int64_t threads = at::get_num_threads();
  double products = 0;
  for (auto _ : state) {
    std::vector<double> done(threads);
    ParallelJobs(threads, threads, [&](std::int64_t job) { done[job] = loop->run(); });
    for (const double of_thread : done) products += of_thread;
  }
  using benchmark::Counter;
  state.counters["OP/s"] = Counter(2 * products, Counter::kIsRate);
}

void BM_Aten(benchmark::State& state, at::ScalarType dtype) {
  const std::vector<at::Tensor> weights = Weights(dtype);
  const std::int64_t bytes = kIn * kOut * static_cast<std::int64_t>(c10::elementSize(dtype));
  Measure(state, bytes, [&](int i, const at::Tensor& x) {
    return at::linear(x.to(dtype), weights[i]).to(at::kFloat);
  });
}

template <typename... Args>
void Register(const std::string& name, Args... args) {
  benchmark::RegisterBenchmark(name.c_str(), args...)
      ->ArgName("rows")
      ->Arg(1)
      ->Arg(8)
      ->Arg(640)
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
}

void RegisterAll() {
  benchmark::RegisterBenchmark("bound/read_memory", BM_ReadMemory)->UseRealTime();
  for (const bench::BareLoop& loop : bench::BareLoops()) {
    benchmark::RegisterBenchmark(loop.name, BM_BareLoop, &loop)->UseRealTime();
  }
  constexpr std::pair<const char*, WeightFormat> kFormats[] = {{"/bf16", WeightFormat::kBlockFloat},
                                                               {"/fp32", WeightFormat::kFp32},
                                                               {"/int8", WeightFormat::kInt8},
                                                               {"/int4", WeightFormat::kInt4}};
  for (const auto& [suffix, format] : kFormats) {
    for (const KernelTable* kernels : SupportedKernels()) {
      Register(std::string(kernels->name) + suffix, BM_Packed, kernels, format);
    }
  }
  Register("aten/fp32", BM_Aten, at::kFloat);
  // Where the processor cannot multiply bf16, ATen's product takes seconds.
  if (__builtin_cpu_supports("avx512bf16")) Register("aten/bf16", BM_Aten, at::kBFloat16);
}

}  // namespace
}  // namespace llava::model

int main(int argc, char** argv) {
  llava::model::RegisterAll();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
