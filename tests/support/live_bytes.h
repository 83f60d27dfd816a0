// How many bytes the tensors of a thread take.
#ifndef LLAVA_TESTS_SUPPORT_LIVE_BYTES_H_
#define LLAVA_TESTS_SUPPORT_LIVE_BYTES_H_

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <cstdint>
#include <memory>

namespace llava::test {

// Those that are allocated and freed on this thread while it is entered as PROFILER_STATE: now and
// at the most.
class LiveBytes final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void* /*memory*/, std::int64_t bytes, std::size_t /*all*/,
                         std::size_t /*reserved*/, c10::Device /*device*/) override {
    now_ += bytes;
    most_ = std::max(most_, now_);
  }
  bool memoryProfilingEnabled() const override { return true; }

  std::int64_t most() const { return most_; }

 private:
  std::int64_t now_ = 0;
  std::int64_t most_ = 0;
};

// Counts until it ends.
class CountLiveBytes {
 public:
  std::int64_t most() const { return live_->most(); }

 private:
  const std::shared_ptr<LiveBytes> live_ = std::make_shared<LiveBytes>();
  const c10::DebugInfoGuard guard_{c10::DebugInfoKind::PROFILER_STATE, live_};
};

}  // namespace llava::test

#endif  // LLAVA_TESTS_SUPPORT_LIVE_BYTES_H_
