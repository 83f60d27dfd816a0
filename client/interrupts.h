// Ctrl-C stops the answer that is being read, not the program.
#ifndef LLAVA_CLIENT_INTERRUPTS_H_
#define LLAVA_CLIENT_INTERRUPTS_H_

#include <grpcpp/client_context.h>

#include <thread>

#include "base/mutex.h"

namespace llava::client {

// One at a time, made before any other thread.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();

  // The call that Ctrl-C cancels; null for none. True when one was cancelled since the last Watch.
  bool Watch(grpc::ClientContext* call);

 private:
  void Wait();

  Mutex mutex_;
  grpc::ClientContext* call_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace llava::client

#endif  // LLAVA_CLIENT_INTERRUPTS_H_
