// Products of activations with a weight matrix of a decoder layer, for each set of kernels that
// this processor runs and for ATen: one row and eight (decoding), and a prompt's.
#include <ATen/Parallel.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/kernels/cpu/dispatch.h"
#include "model/kernels/cpu/packed_matrix.h"

namespace llava::model {
namespace {

constexpr std::int64_t kIn = 2048, kOut = 11008;
constexpr int kMatrices = 8;  // in turn, so that weights come from memory, as those of a model do

// product(i, x) multiplies x [rows, kIn] with matrix i.
template <typename Product>
void Measure(benchmark::State& state, at::ScalarType dtype, const Product& product) {
  const at::Tensor x = at::randn({state.range(0), kIn});
  int next = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(product(next, x));
    next = (next + 1) % kMatrices;
  }
  using benchmark::Counter;
  const auto times = static_cast<double>(state.iterations());
  state.counters["FLOP/s"] =
      Counter(2.0 * static_cast<double>(state.range(0) * kIn * kOut) * times, Counter::kIsRate);
  state.counters["weight B/s"] = Counter(
      static_cast<double>(kIn * kOut) * static_cast<double>(c10::elementSize(dtype)) * times,
      Counter::kIsRate);
}

std::vector<at::Tensor> Weights(at::ScalarType dtype) {
  std::vector<at::Tensor> weights;
  for (int i = 0; i < kMatrices; ++i) weights.push_back(at::randn({kOut, kIn}).to(dtype));
  return weights;
}

void BM_Packed(benchmark::State& state, const KernelTable* kernels, at::ScalarType dtype) {
  std::vector<PackedMatrix> matrices;
  for (const at::Tensor& weight : Weights(dtype)) {
    matrices.emplace_back(std::span(&weight, 1), WeightFormatOf(dtype), *kernels);
  }
  Measure(state, dtype, [&](int i, const at::Tensor& x) { return matrices[i].Multiply(x, {}); });
}

void BM_Aten(benchmark::State& state, at::ScalarType dtype) {
  const std::vector<at::Tensor> weights = Weights(dtype);
  Measure(state, dtype, [&](int i, const at::Tensor& x) {
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
  for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat}) {
    const std::string suffix = dtype == at::kFloat ? "/fp32" : "/bf16";
    for (const KernelTable* kernels : SupportedKernels()) {
      Register(kernels->name + suffix, BM_Packed, kernels, dtype);
    }
    // Where the processor cannot multiply bf16, ATen's product takes seconds.
    const bool fast = dtype == at::kFloat || __builtin_cpu_supports("avx512bf16");
    if (fast) Register("aten" + suffix, BM_Aten, dtype);
  }
}

}  // namespace
}  // namespace llava::model

int main(int argc, char** argv) {
  llava::model::RegisterAll();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
