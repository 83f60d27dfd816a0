// What bounds matrix products on this machine: loops of nothing but their instructions.
#ifndef LLAVA_TESTS_BENCH_BARE_LOOPS_H_
#define LLAVA_TESTS_BENCH_BARE_LOOPS_H_

#include <cstdint>
#include <span>

namespace llava::bench {

struct BareLoop {
  const char* name;  // "bound/", the instruction set, and what the kernels of which format do
  double (*run)();   // some milliseconds on this thread; how many numbers it multiplied
};

// Those that this processor runs.
std::span<const BareLoop> BareLoops();

// Reads `bytes`, a multiple of 64, from memory that is aligned to 64.
std::uint64_t SumOfWords(const std::uint8_t* begin, std::int64_t bytes);

}  // namespace llava::bench

#endif  // LLAVA_TESTS_BENCH_BARE_LOOPS_H_
