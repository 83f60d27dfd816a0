// How many bytes the tensors of a thread take.
#ifndef LLAVA_TESTS_SUPPORT_LIVE_BYTES_H_
#define LLAVA_TESTS_SUPPORT_LIVE_BYTES_H_

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
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
    c10::SetCPUAllocator(Allocator(), /*priority=*/255);
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

  // Memory is counted by its address, so that it looks as LibTorch's own does to whoever frees it.
  struct Counting final : at::Allocator {
    at::DataPtr allocate(std::size_t size) override {
      void* const memory = inner->raw_allocate(size);
      const std::shared_ptr<Count> count = Current();
      if (count != nullptr && memory != nullptr) {
        count->Add(static_cast<std::int64_t>(size));
        const std::lock_guard lock(Mutex());
        Counted()[memory] = {count, static_cast<std::int64_t>(size)};
      }
      return {memory, memory, &Free, at::kCPU};
    }
    at::DeleterFnPtr raw_deleter() const override { return &Free; }
    void copy_data(void* to, const void* from, std::size_t size) const override {
      default_copy_data(to, from, size);
    }

    at::Allocator* const inner = c10::GetCPUAllocator();
  };

  static void Free(void* memory) {
    {
      const std::lock_guard lock(Mutex());
      const auto counted = Counted().find(memory);
      if (counted != Counted().end()) {
        counted->second.first->Add(-counted->second.second);
        Counted().erase(counted);
      }
    }
    Allocator()->inner->raw_deallocate(memory);
  }

  // These stay: tensors may outlive whoever counted them.
  static Counting* Allocator() {
    static Counting* const allocator = new Counting;
    return allocator;
  }
  static std::mutex& Mutex() {
    static std::mutex* const mutex = new std::mutex;
    return *mutex;
  }
  static std::map<void*, std::pair<std::shared_ptr<Count>, std::int64_t>>& Counted() {
    static auto* const counted =
        new std::map<void*, std::pair<std::shared_ptr<Count>, std::int64_t>>;
    return *counted;
  }

  static std::shared_ptr<Count>& Current() {
    thread_local std::shared_ptr<Count> current;
    return current;
  }

  const std::shared_ptr<Count> count_ = std::make_shared<Count>();
};

}  // namespace llava::test

#endif  // LLAVA_TESTS_SUPPORT_LIVE_BYTES_H_
