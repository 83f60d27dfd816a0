#include "tests/support/cuda_emulator.h"

#include <ucontext.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/rng.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_emulator {
namespace {

constexpr unsigned kWarp = 32;
constexpr std::size_t kStackBytes = 256 << 10;  // pages that are not touched cost nothing
constexpr int kPoison = 0xff;                   // of all bytes: NaN in fp32 and bf16

// Threads that wait for each other. `members` of them make a round; an operation that one of them
// brings is what all of the round must bring.
struct Meeting {
  unsigned members = 0;
  unsigned arrived = 0;
  std::uint64_t rounds = 0;  // that are over
  const char* operation = "";
};

struct Warp {
  Meeting meeting;
  // What the lanes bring to a shuffle or a product. Those of one round are read until all lanes
  // have come to the next one, which has its own.
  std::uint64_t words[2][kWarp];
  float scratch[2][512];
};

struct Thread {
  ucontext_t context;
  char* stack = nullptr;  // kStackBytes
  uint3 index{};
  Warp* warp = nullptr;
  const Meeting* waits_in = nullptr;  // until its rounds are more than
  std::uint64_t rounds = 0;
  bool has_ended = false;
  void* fake_stack = nullptr;  // AddressSanitizer's

  bool is_ready() const { return !has_ended && (waits_in == nullptr || waits_in->rounds > rounds); }
};

// The stack of a block's thread, kept from launch to launch.
char* StackOf(unsigned thread) {
  static std::vector<std::unique_ptr<char[]>> stacks;
  while (stacks.size() <= thread) stacks.emplace_back(new char[kStackBytes]);  // not cleared
  return stacks[thread].get();
}

// One block's threads, used for one block of a launch after the other.
class Block {
 public:
  Block(const cudaLaunchConfig_t& launch, const std::function<void()>& kernel);

  void Run();  // the block blockIdx

  void Meet(Meeting& meeting, const char* operation);
  Thread& running() { return *running_; }
  Meeting& all() { return all_; }
  void* shared() { return shared_.data(); }

  static Block* current;

 private:
  static void Main();  // of every thread
  void Reset();
  void Resume(Thread& thread);
  void Suspend();
  [[noreturn]] void Stuck() const;

  const std::function<void()>& kernel_;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Warp> warps_;
  Meeting all_;
  std::vector<uint4> shared_;
  std::size_t shared_bytes_;
  ucontext_t scheduler_{};
  Thread* running_ = nullptr;
  llava::Rng rng_{20};
  // Of the thread that launched the kernel, for AddressSanitizer.
  void* scheduler_fake_stack_ = nullptr;
  const void* scheduler_stack_ = nullptr;
  std::size_t scheduler_stack_bytes_ = 0;
};

Block* Block::current = nullptr;

std::uint64_t launches = 0;

Block::Block(const cudaLaunchConfig_t& launch, const std::function<void()>& kernel)
    : kernel_(kernel),
      warps_((launch.blockDim.x + kWarp - 1) / kWarp),
      shared_((launch.dynamicSmemBytes + sizeof(uint4) - 1) / sizeof(uint4)),
      shared_bytes_(launch.dynamicSmemBytes) {
  for (unsigned i = 0; i < launch.blockDim.x; ++i) {
    threads_.push_back(std::make_unique<Thread>());
    Thread& thread = *threads_.back();
    thread.stack = StackOf(i);
    thread.index = {i, 0, 0};
    thread.warp = &warps_[i / kWarp];
    ++thread.warp->meeting.members;
  }
  all_.members = launch.blockDim.x;
}

void Block::Reset() {
  if (!shared_.empty()) std::memset(shared_.data(), kPoison, shared_bytes_);
  for (const auto& thread : threads_) {
#ifdef __SANITIZE_ADDRESS__
    // The frames of the thread that ended here were never left.
    ASAN_UNPOISON_MEMORY_REGION(thread->stack, kStackBytes);
#endif
    thread->has_ended = false;
    thread->waits_in = nullptr;
    LLAVA_CHECK_EQ(getcontext(&thread->context), 0);
    thread->context.uc_stack.ss_sp = thread->stack;
    thread->context.uc_stack.ss_size = kStackBytes;
    thread->context.uc_link = nullptr;
    makecontext(&thread->context, &Block::Main, 0);
  }
}

void Block::Main() {
  Block& block = *current;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &block.scheduler_stack_, &block.scheduler_stack_bytes_);
#endif
  block.kernel_();
  block.running_->has_ended = true;
  block.Suspend();
  LLAVA_CHECK(false);  // nobody resumes it
}

void Block::Resume(Thread& thread) {
  running_ = &thread;
  threadIdx = thread.index;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&scheduler_fake_stack_, thread.stack, kStackBytes);
#endif
  LLAVA_CHECK_EQ(swapcontext(&scheduler_, &thread.context), 0);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(scheduler_fake_stack_, nullptr, nullptr);
#endif
}

void Block::Suspend() {
  Thread& thread = *running_;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(thread.has_ended ? nullptr : &thread.fake_stack, scheduler_stack_,
                                 scheduler_stack_bytes_);
#endif
  LLAVA_CHECK_EQ(swapcontext(&thread.context, &scheduler_), 0);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(thread.fake_stack, nullptr, nullptr);
#endif
}

void Block::Meet(Meeting& meeting, const char* operation) {
  if (meeting.arrived == 0) meeting.operation = operation;
  if (std::string_view(meeting.operation) != operation) Stuck();
  Thread& thread = *running_;
  thread.waits_in = &meeting;
  thread.rounds = meeting.rounds;
  if (++meeting.arrived == meeting.members) {
    meeting.arrived = 0;
    ++meeting.rounds;
  }
  if (!thread.is_ready()) Suspend();
}

// Each turn begins with another thread and goes up or down from there, so that what is right only
// in the order of their numbers is seen to be wrong.
void Block::Run() {
  Reset();
  const std::size_t count = threads_.size();
  for (std::size_t left = count; left > 0;) {
    const std::size_t first = rng_.Below(count), step = rng_.Chance(0.5) ? 1 : count - 1;
    bool has_moved = false;
    for (std::size_t i = 0; i < count; ++i) {
      Thread& thread = *threads_[(first + i * step) % count];
      if (!thread.is_ready()) continue;
      Resume(thread);
      has_moved = true;
      left -= thread.has_ended;
    }
    if (!has_moved) Stuck();
  }
  LLAVA_CHECK_EQ(all_.arrived, 0u);
}

void Block::Stuck() const {
  std::string waiting;
  for (const auto& thread : threads_) {
    if (thread->has_ended || thread->waits_in == nullptr || thread->is_ready()) continue;
    waiting += " " + std::to_string(thread->index.x) + ": " + thread->waits_in->operation;
  }
  std::fprintf(stderr,
               "block %u, %u, %u: its threads do not all come to the same barrier or shuffle; "
               "those that wait:%s\n",
               blockIdx.x, blockIdx.y, blockIdx.z, waiting.c_str());
  std::abort();
}

}  // namespace

void Run(const cudaLaunchConfig_t& launch, const std::function<void()>& kernel) {
  constexpr unsigned kMostThreads = 1024, kMostBlocksUp = 65535;
  constexpr std::size_t kMostShared = 227 << 10;  // of compute capability 9.0
  const dim3 grid = launch.gridDim, threads = launch.blockDim;
  LLAVA_CHECK(threads.x > 0 && threads.x <= kMostThreads && threads.y == 1 && threads.z == 1);
  LLAVA_CHECK(grid.x > 0 && grid.x <= 0x7fffffffu && grid.y > 0 && grid.y <= kMostBlocksUp &&
              grid.z > 0 && grid.z <= kMostBlocksUp);
  LLAVA_CHECK_LE(launch.dynamicSmemBytes, kMostShared);
  LLAVA_CHECK(Block::current == nullptr);  // a kernel starts no other
  ++launches;
  gridDim = grid;
  blockDim = threads;
  Block block(launch, kernel);
  Block::current = &block;
  const std::uint64_t count = std::uint64_t{grid.x} * grid.y * grid.z;
  static llava::Rng rng(10);
  const std::uint64_t first = rng.Below(count), step = rng.Chance(0.5) ? 1 : count - 1;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t number = (first + i * step) % count;
    blockIdx = {static_cast<unsigned>(number % grid.x),
                static_cast<unsigned>(number / grid.x % grid.y),
                static_cast<unsigned>(number / grid.x / grid.y)};
    block.Run();
  }
  Block::current = nullptr;
}

std::uint64_t Launches() { return launches; }

void* DynamicShared() { return Block::current->shared(); }

void MeetInBlock(const char* operation) { Block::current->Meet(Block::current->all(), operation); }

void MeetInWarp(const char* operation) {
  Block& block = *Block::current;
  block.Meet(block.running().warp->meeting, operation);
}

std::uint64_t Exchange(std::uint64_t word, unsigned source, unsigned mask, const char* operation) {
  LLAVA_CHECK_EQ(mask, ~0u);
  Block& block = *Block::current;
  Warp& warp = *block.running().warp;
  const unsigned lane = Lane();
  LLAVA_CHECK_LT(source, warp.meeting.members);
  std::uint64_t* const words = warp.words[warp.meeting.rounds % 2];
  words[lane] = word;
  block.Meet(warp.meeting, operation);
  return words[source];
}

float* WarpScratch() {
  Warp& warp = *Block::current->running().warp;
  return warp.scratch[warp.meeting.rounds % 2];
}

}  // namespace cuda_emulator
