// How much memory the tensors of a process take at the most.
#ifndef LLAVA_TESTS_SUPPORT_LIVE_BYTES_H_
#define LLAVA_TESTS_SUPPORT_LIVE_BYTES_H_

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace llava::test {

// Counts the bytes of tensors in host memory that any thread makes in this object's life, for as
// long as they live. LibTorch's own reports of memory go to the thread that frees a tensor; those
// that a communication thread happens to free would be missing there.
class LiveBytes {
 public:
  LiveBytes() { c10::SetCPUAllocator(&allocator_, kPriority); }
  ~LiveBytes() { c10::SetCPUAllocator(allocator_.inner, kPriority); }
  LiveBytes(const LiveBytes&) = delete;
  LiveBytes& operator=(const LiveBytes&) = delete;

  std::int64_t most() const {
    const std::lock_guard lock(allocator_.count->mutex);
    return allocator_.count->most;
  }

 private:
  static constexpr std::uint8_t kPriority = 255;  // above the one that is there

  struct Count {
    void Add(std::int64_t bytes) {
      const std::lock_guard lock(mutex);
      now += bytes;
      most = std::max(most, now);
    }
    std::mutex mutex;
    std::int64_t now = 0;
    std::int64_t most = 0;
  };

  struct Counted {
    ~Counted() { count->Add(-bytes); }
    at::DataPtr data;
    std::int64_t bytes = 0;
    std::shared_ptr<Count> count;  // tensors may outlive the LiveBytes
  };

  struct CountingAllocator final : at::Allocator {
    at::DataPtr allocate(std::size_t size) override {
      auto counted = std::make_unique<Counted>();
      counted->data = inner->allocate(size);
      counted->bytes = static_cast<std::int64_t>(size);
      counted->count = count;
      count->Add(counted->bytes);
      void* const memory = counted->data.get();
      return {memory, counted.release(), &Free, at::kCPU};
    }
    void copy_data(void* to, const void* from, std::size_t size) const override {
      default_copy_data(to, from, size);
    }
    static void Free(void* counted) { delete static_cast<Counted*>(counted); }

    at::Allocator* const inner = c10::GetCPUAllocator();
    const std::shared_ptr<Count> count = std::make_shared<Count>();
  };

  CountingAllocator allocator_;
};

}  // namespace llava::test

#endif  // LLAVA_TESTS_SUPPORT_LIVE_BYTES_H_
