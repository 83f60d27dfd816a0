#include "model/ranks/rank_threads.h"

#include <c10/core/DeviceGuard.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <string_view>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/ranks/thread_limit.h"

namespace llava::model {
namespace {

// Of one sum, which begins when all ranks are there: far above what it takes.
constexpr Duration kCallTimeout = std::chrono::minutes(1);

int ThreadsOfEach(const std::vector<at::Device>& devices, int threads) {
  if (threads == 0 || !devices.front().is_cpu()) return 0;
  return std::max(1, threads / static_cast<int>(devices.size()));
}

}  // namespace

RankThreads::RankThreads(std::vector<at::Device> devices, int threads)
    : devices_(std::move(devices)),
      threads_(ThreadsOfEach(devices_, threads)),
      backends_(devices_.size()) {
  for (int rank = 1; rank < size(); ++rank) others_.emplace_back([this, rank] { Serve(rank); });
}

RankThreads::~RankThreads() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  others_.clear();  // joins
}

absl::StatusOr<std::unique_ptr<RankThreads>> RankThreads::Start(std::vector<at::Device> devices,
                                                                int threads) {
  LLAVA_CHECK(!devices.empty());
  const char* const recorder = std::getenv("TORCH_FR_BUFFER_SIZE");
  if (devices.size() > 1 && (recorder == nullptr || std::string_view(recorder) != "0")) {
    return absl::FailedPreconditionError(absl::StrCat(
        "this program runs a model on one device only, expected no sum of ", devices.size()));
  }
  std::unique_ptr<RankThreads> ranks(new RankThreads(std::move(devices), threads));
  if (ranks->size() == 1) return ranks;
  const auto store = c10::make_intrusive<c10d::HashStore>();
  store->setTimeout(std::chrono::duration_cast<std::chrono::milliseconds>(kCallTimeout));
  RETURN_IF_ERROR(ranks->Run([&](int rank) -> absl::Status {
    const auto own = static_cast<std::size_t>(rank);
    try {
      ASSIGN_OR_RETURN(ranks->backends_[own],
                       MakeC10dBackend(store, {.rank = rank,
                                               .size = ranks->size(),
                                               .device = ranks->devices_[own],
                                               .timeout = kCallTimeout}));
      return absl::OkStatus();
    } catch (const std::exception& error) {
      return absl::UnavailableError(
          absl::StrCat("meeting the other devices of the model: ", WhatOf(error)));
    }
  }));
  return ranks;
}

absl::Status RankThreads::Run(const Work& work) {
  if (size() == 1) return work(0);
  {
    MutexLock lock(&mutex_);
    work_ = &work;
    failure_ = absl::OkStatus();
    here_ = 0;
    running_ = size() - 1;
    ++runs_;
    changed_.NotifyAll();
  }
  {
    const ThreadLimit limit(threads_);
    Call(0, work);
  }
  MutexLock lock(&mutex_);
  while (running_ > 0) changed_.Wait(&mutex_);
  work_ = nullptr;
  return failure_;
}

void RankThreads::Serve(int rank) {
  const ThreadLimit limit(threads_);
  std::uint64_t done = 0;
  for (;;) {
    const Work* work = nullptr;
    {
      MutexLock lock(&mutex_);
      while (!stopping_ && runs_ == done) changed_.Wait(&mutex_);
      if (stopping_) return;
      done = runs_;
      work = work_;
    }
    Call(rank, *work);
    MutexLock lock(&mutex_);
    --running_;
    changed_.NotifyAll();
  }
}

void RankThreads::Call(int rank, const Work& work) {
  const at::Device device = devices_[static_cast<std::size_t>(rank)];
  absl::Status status;
  try {
    c10::OptionalDeviceGuard guard;
    if (!device.is_cpu()) guard.reset_device(device);
    status = work(rank);
  } catch (const std::exception& error) {
    status = absl::InternalError(absl::StrCat(device.str(), ": ", WhatOf(error)));
  }
  if (status.ok()) return;
  MutexLock lock(&mutex_);
  if (failure_.ok()) failure_ = std::move(status);
  changed_.NotifyAll();
}

bool RankThreads::Meet() {
  MutexLock lock(&mutex_);
  if (!failure_.ok()) return false;
  const std::uint64_t before = met_;
  if (++here_ == size()) {
    here_ = 0;
    ++met_;
    changed_.NotifyAll();
    return true;
  }
  while (met_ == before && failure_.ok()) changed_.Wait(&mutex_);
  return met_ != before;
}

// A rank begins a sum only when all are there, so that none waits within the backend, where nobody
// could wake it, for one that has failed.
void RankThreads::Sum(int rank, const at::Tensor& tensor) {
  if (size() == 1 || tensor.numel() == 0) return;
  if (!Meet()) TORCH_CHECK(false, "another device of this model has failed");
  std::vector<at::Tensor> tensors = {tensor};
  try {
    backends_[static_cast<std::size_t>(rank)]->allreduce(tensors)->wait();
  } catch (const std::exception& error) {
    TORCH_CHECK(false, "adding up over the devices of this model: ", WhatOf(error));
  }
}

}  // namespace llava::model
