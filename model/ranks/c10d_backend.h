// What several ranks tell each other, over LibTorch's c10d: Gloo on CPUs, NCCL on GPUs. A rank is a
// process of a training run, or a thread of a daemon that serves a model on several devices.
#ifndef LLAVA_MODEL_RANKS_C10D_BACKEND_H_
#define LLAVA_MODEL_RANKS_C10D_BACKEND_H_

#include <c10/core/Device.h>

#include <exception>
#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "absl/status/statusor.h"
#include "base/clock.h"

namespace llava::model {

// LibTorch's flight recorder, one a process, enters backends into a map before it takes its lock:
// ranks that are threads of one process tear that map. For such programs: call first in main, while
// nobody else reads the environment. Ranks of their own process do not meet there.
void TurnOffFlightRecorder();

struct C10dPlace {
  int rank = 0;
  int size = 1;
  at::Device device = at::kCPU;
  std::string address = "127.0.0.1";  // of rank 0, which says which network Gloo uses
  Duration timeout = {};              // of one call
};

// Every rank makes its own at the same time, and meets the others by `store`. FAILED_PRECONDITION
// for a GPU in a program without NCCL. What LibTorch throws is thrown.
absl::StatusOr<c10::intrusive_ptr<c10d::Backend>> MakeC10dBackend(
    const c10::intrusive_ptr<c10d::Store>& store, const C10dPlace& place);

// What it says, without the call stack that LibTorch adds.
std::string WhatOf(const std::exception& error);

}  // namespace llava::model

#endif  // LLAVA_MODEL_RANKS_C10D_BACKEND_H_
