// A result that another thread brings to a blocking call.
#ifndef LLAVA_SERVER_API_GRPC_AWAITED_H_
#define LLAVA_SERVER_API_GRPC_AWAITED_H_

#include <optional>
#include <utility>

#include "base/mutex.h"

namespace llava::api {

// Thread-safe. Outlives the call of Set.
template <typename T>
class Awaited {
 public:
  void Set(T value) {
    MutexLock lock(&mutex_);
    value_ = std::move(value);
    there_.NotifyAll();
  }

  T Wait() {
    MutexLock lock(&mutex_);
    while (!value_.has_value()) there_.Wait(&mutex_);
    return *std::move(value_);
  }

 private:
  Mutex mutex_;
  CondVar there_;
  std::optional<T> value_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_GRPC_AWAITED_H_
