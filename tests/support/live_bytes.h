// How many bytes the tensors of a thread take.
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

// Of the tensors in host memory that this thread makes in this object's life: the bytes of those
// that live, at the most. Whichever thread frees one, it is taken off: LibTorch's own reports of
// memory go to the thread that frees, which may be one of a communication library.
class CountLiveBytes {
 public:
  CountLiveBytes() {
    static Counting* const counting = new Counting;  // stays for tensors that outlive us
    c10::SetCPUAllocator(counting, /*priority=*/255);
    Current() = count_;
  }
  ~CountLiveBytes() { Current() = nullptr; }
  CountLiveBytes(const CountLiveBytes&) = delete;
  CountLiveBytes& operator=(const CountLiveBytes&) = delete;

  std::int64_t most() const {
    const std::lock_guard lock(count_->mutex);
    return count_->most;
  }

 private:
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
    std::shared_ptr<Count> count;
  };

  struct Counting final : at::Allocator {
    at::DataPtr allocate(std::size_t size) override {
      if (Current() == nullptr) return inner->allocate(size);
      auto counted = std::make_unique<Counted>();
      counted->data = inner->allocate(size);
      counted->bytes = static_cast<std::int64_t>(size);
      counted->count = Current();
      counted->count->Add(counted->bytes);
      void* const memory = counted->data.get();
      return {memory, counted.release(), &Free, at::kCPU};
    }
    void copy_data(void* to, const void* from, std::size_t size) const override {
      default_copy_data(to, from, size);
    }
    static void Free(void* counted) { delete static_cast<Counted*>(counted); }

    at::Allocator* const inner = c10::GetCPUAllocator();
  };

  static std::shared_ptr<Count>& Current() {
    thread_local std::shared_ptr<Count> current;
    return current;
  }

  const std::shared_ptr<Count> count_ = std::make_shared<Count>();
};

}  // namespace llava::test

#endif  // LLAVA_TESTS_SUPPORT_LIVE_BYTES_H_
