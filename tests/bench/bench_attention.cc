// Attention of the CPU over a paged cache in bf16 and in codes of 8 bits: one decoded token of some
// sequences, and a chunk of a prompt after so many tokens, on as many threads as ATen may use
// (OMP_NUM_THREADS). Beside it what the machine gives: a loop of fused multiply-adds on registers,
// and one that reads memory.
#include <ATen/Parallel.h>
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/attention/paged_cpu_attention.h"
#include "model/kernels/cpu/worker_pool.h"

namespace llava::model {
namespace {

struct Shape {
  const char* name;
  int kv_heads, group, head_dim;
};
constexpr Shape kShapes[] = {{"heads:8,group:1,dim:64", 8, 1, 64},
                             {"heads:4,group:4,dim:128", 4, 4, 128}};

void BM_Attention(benchmark::State& state, const KernelTable* kernels, Shape s,
                  at::ScalarType dtype) {
  const std::int64_t sequences = state.range(0), tokens = state.range(1), context = state.range(2);
  const KvShape shape{.layers = 1, .kv_heads = s.kv_heads, .head_dim = s.head_dim, .dtype = dtype};
  const std::int64_t blocks = (context + tokens + kKvBlockTokens - 1) / kKvBlockTokens;
  KvCache cache = KvCache::Create(shape, sequences * blocks * KvCache::BlockBytes(shape)).value();
  const auto random = [&](std::int64_t rows, std::int64_t heads) {
    return at::randn({rows, heads, s.head_dim});
  };
  std::vector<std::int64_t> slots(sequences * blocks * kKvBlockTokens);
  for (std::size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<std::int64_t>(i);
  cache.Write(0, random(std::ssize(slots), s.kv_heads), random(std::ssize(slots), s.kv_heads),
              slots);
  std::vector<std::vector<std::int32_t>> tables(sequences);
  std::vector<PagedSequence> batch;
  for (std::int64_t i = 0; i < sequences; ++i) {
    for (std::int64_t b = 0; b < blocks; ++b) {
      tables[i].push_back(static_cast<std::int32_t>(b * sequences + i));
    }
    batch.push_back({i * tokens, tokens, context, tables[i]});
  }
  PagedCpuAttention attention(cache, *kernels);
  attention.Refill(batch);
  const std::int64_t rows = sequences * tokens;
  const at::Tensor q = random(rows, s.kv_heads * s.group), k = random(rows, s.kv_heads),
                   v = random(rows, s.kv_heads);
  for (auto _ : state) benchmark::DoNotOptimize(attention.Forward(0, q, k, v));
  const auto times = static_cast<double>(state.iterations());
  const auto seen = static_cast<double>(rows * context + sequences * tokens * (tokens + 1) / 2);
  using benchmark::Counter;
  state.counters["FLOP/s"] =
      Counter(seen * s.kv_heads * s.group * s.head_dim * 4 * times, Counter::kIsRate);
  const auto bytes = static_cast<double>(c10::elementSize(dtype));
  state.counters["KV B/s"] = Counter(static_cast<double>(sequences * (context + tokens)) *
                                         s.kv_heads * s.head_dim * 2 * bytes * times,
                                     Counter::kIsRate);
}

// f on every thread at once.
template <typename F>
void OnAllThreads(const F& f) {
  const int threads = at::get_num_threads();
  ParallelJobs(threads, threads, [&](std::int64_t) { f(); });
}

__attribute__((target("avx2,fma"))) void MultiplyAdds(std::int64_t times) {
  typedef float Vec __attribute__((vector_size(32)));
  Vec sums[12] = {};
  Vec x{}, y{};
  benchmark::DoNotOptimize(x);
  benchmark::DoNotOptimize(y);
  for (std::int64_t i = 0; i < times; ++i) {
#pragma GCC unroll 12
    for (Vec& sum : sums) sum = x * y + sum;
  }
  for (Vec& sum : sums) benchmark::DoNotOptimize(sum);
}

void BM_BareMultiplyAdds(benchmark::State& state) {
  constexpr std::int64_t kTimes = 1 << 16;
  for (auto _ : state) OnAllThreads([] { MultiplyAdds(kTimes); });
  state.counters["FLOP/s"] = benchmark::Counter(
      static_cast<double>(kTimes * 12 * 8 * 2 * at::get_num_threads() * state.iterations()),
      benchmark::Counter::kIsRate);
}

void BM_BareRead(benchmark::State& state) {
  constexpr std::int64_t kWords = std::int64_t{1} << 24, kPart = 1 << 15;
  const std::vector<std::int64_t> memory(kWords, 1);
  for (auto _ : state) {
    ParallelJobs(kWords / kPart, at::get_num_threads(), [&](std::int64_t i) {
      const std::int64_t* part = memory.data() + i * kPart;
      std::int64_t sums[8] = {};
      for (std::int64_t j = 0; j < kPart; j += 8) {
        for (int l = 0; l < 8; ++l) sums[l] += part[j + l];
      }
      benchmark::DoNotOptimize(sums);
    });
  }
  state.counters["KV B/s"] = benchmark::Counter(
      static_cast<double>(kWords * 8 * state.iterations()), benchmark::Counter::kIsRate);
}

void RegisterAll() {
  benchmark::RegisterBenchmark("bare/read", BM_BareRead)->UseRealTime();
  if (__builtin_cpu_supports("fma")) {
    benchmark::RegisterBenchmark("bare/multiply_adds", BM_BareMultiplyAdds)->UseRealTime();
  }
  for (const KernelTable* kernels : SupportedKernels()) {
    for (const Shape& shape : kShapes) {
      for (const at::ScalarType dtype : {at::kBFloat16, at::kChar}) {
        const std::string name = std::string(kernels->name) + "/" + shape.name +
                                 (dtype == at::kChar ? ",kv:int8" : ",kv:bf16");
        benchmark::RegisterBenchmark(name.c_str(), BM_Attention, kernels, shape, dtype)
            ->ArgNames({"sequences", "tokens", "context"})
            ->Args({1, 1, 240})  // in the caches
            ->Args({1, 1, 3900})
            ->Args({8, 1, 700})
            ->Args({1, 256, 0})
            ->Args({1, 256, 3840})
            ->Unit(benchmark::kMicrosecond)
            ->UseRealTime();
      }
    }
  }
}

}  // namespace
}  // namespace llava::model

int main(int argc, char** argv) {
  llava::model::RegisterAll();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
