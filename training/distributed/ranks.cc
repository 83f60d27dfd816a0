#include "training/distributed/ranks.h"

#include <ATen/ops/ones.h>

#include <exception>
#include <string>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/ranks/c10d_backend.h"
#include "training/distributed/rank_watch.h"

namespace llava::training {
namespace {

using model::WhatOf;
using Milliseconds = std::chrono::milliseconds;
using Store = c10::intrusive_ptr<c10d::Store>;
using Backend = c10::intrusive_ptr<c10d::Backend>;
using Work = c10::intrusive_ptr<c10d::Work>;

// Of one collective call. Far above what a slow rank may take (it may be drawing its images):
// whether a rank is gone is the watch's business.
constexpr Duration kCallTimeout = std::chrono::minutes(30);

Milliseconds InMilliseconds(Duration duration) {
  return std::chrono::duration_cast<Milliseconds>(duration);
}

Store Connect(const RankPlace& place, bool listens, Duration timeout) {
  c10d::TCPStoreOptions options;
  options.port = place.port;
  options.isServer = listens;
  options.waitWorkers = false;
  options.timeout = InMilliseconds(timeout);
  const Store store = c10::make_intrusive<c10d::TCPStore>(place.address, options);
  if (place.agent_prefix.empty()) return store;
  return c10::make_intrusive<c10d::PrefixStore>(place.agent_prefix, store);
}

// Until every rank has said that it is there.
absl::Status Meet(c10d::Store& store, const RankPlace& place, Duration within) {
  const auto key = [](int rank) { return absl::StrCat("here/", rank); };
  store.set(key(place.rank), std::vector<std::uint8_t>{1});
  std::vector<std::string> keys;
  for (int rank = 0; rank < place.size; ++rank) keys.push_back(key(rank));
  try {
    store.wait(keys, InMilliseconds(within));
    return absl::OkStatus();
  } catch (const std::exception& error) {
    std::vector<int> missing;
    for (int rank = 0; rank < place.size; ++rank) {
      if (!store.check({key(rank)})) missing.push_back(rank);
    }
    return absl::DeadlineExceededError(
        absl::StrCat("of ", place.size, " ranks these did not come within ", Seconds(within),
                     " s: ", absl::StrJoin(missing, ", ")));
  }
}

Work BroadcastOver(c10d::Backend& backend, const at::Tensor& tensor, int root) {
  std::vector<at::Tensor> tensors = {tensor};
  c10d::BroadcastOptions options;
  options.rootRank = root;
  return backend.broadcast(tensors, options);
}

}  // namespace

struct Ranks::Group {
  std::unique_ptr<RankWatch> watch;  // goes last: it ends a process that hangs in the others' end
  Store store;
  Backend backend;
  Backend apart;  // the same ranks once more
  at::Device device = at::kCPU;

  // Starts a call and returns its end.
  template <typename Start>
  Pending Run(Start start) {
    Work work;
    try {
      work = start();
    } catch (const std::exception& error) {
      return [this, what = WhatOf(error)] { return watch->Explain(what); };
    }
    return [this, work = std::move(work)]() -> absl::Status {
      try {
        work->wait();
        return absl::OkStatus();
      } catch (const std::exception& error) {
        return watch->Explain(WhatOf(error));
      }
    };
  }
};

Ranks::Ranks() = default;
Ranks::Ranks(const RankPlace& place, std::unique_ptr<Group> group)
    : place_(place), group_(std::move(group)) {}
Ranks::~Ranks() = default;

absl::StatusOr<std::unique_ptr<Ranks>> Ranks::Join(const RankPlace& place,
                                                   const RanksOptions& options,
                                                   const Clock& clock) {
  if (place.size == 1) return std::make_unique<Ranks>();
  const auto where = [&] { return absl::StrCat("rank 0 at ", place.address, ":", place.port); };
  try {
    auto group = std::make_unique<Group>();
    const bool listens = place.rank == 0 && place.agent_prefix.empty();
    group->store = Connect(place, listens, options.join_within);
    RETURN_IF_ERROR(Annotate(Meet(*group->store, place, options.join_within), where()));
    group->watch = std::make_unique<RankWatch>(Connect(place, false, options.lost_after), place,
                                               options.lost_after, clock);
    group->device = options.device;
    const model::C10dPlace c10d_place = {.rank = place.rank,
                                         .size = place.size,
                                         .device = options.device,
                                         .address = place.address,
                                         .timeout = kCallTimeout};
    ASSIGN_OR_RETURN(group->backend, model::MakeC10dBackend(group->store, c10d_place));
    const auto apart = c10::make_intrusive<c10d::PrefixStore>("apart", group->store);
    ASSIGN_OR_RETURN(group->apart, model::MakeC10dBackend(apart, c10d_place));
    return std::unique_ptr<Ranks>(new Ranks(place, std::move(group)));
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat(where(), ": ", WhatOf(error)));
  }
}

Ranks::Pending Ranks::Sum(const at::Tensor& tensor) {
  if (group_ == nullptr) return [] { return absl::OkStatus(); };
  std::vector<at::Tensor> tensors = {tensor};
  return group_->Run([&] { return group_->backend->allreduce(tensors); });
}

Ranks::Pending Ranks::SumTo(const at::Tensor& tensor, int root) {
  if (group_ == nullptr) return [] { return absl::OkStatus(); };
  std::vector<at::Tensor> tensors = {tensor};
  c10d::ReduceOptions options;
  options.rootRank = root;
  return group_->Run([&] { return group_->backend->reduce(tensors, options); });
}

Ranks::Pending Ranks::Broadcast(const at::Tensor& tensor, int root) {
  if (group_ == nullptr) return [] { return absl::OkStatus(); };
  return group_->Run([&] { return BroadcastOver(*group_->backend, tensor, root); });
}

Ranks::Pending Ranks::BroadcastApart(const at::Tensor& tensor, int root) {
  if (group_ == nullptr) return [] { return absl::OkStatus(); };
  return group_->Run([&] { return BroadcastOver(*group_->apart, tensor, root); });
}

absl::Status Ranks::Barrier() {
  if (group_ == nullptr) return absl::OkStatus();
  const auto options = at::TensorOptions(at::kFloat).device(group_->device);
  const at::Tensor ranks = at::ones({1}, options);
  RETURN_IF_ERROR(Sum(ranks)());
  ranks.item<float>();  // a GPU's sum has not ended before
  return absl::OkStatus();
}

void Ranks::Leave(const absl::Status& status) {
  if (group_ != nullptr) group_->watch->Leave(status);
}

}  // namespace llava::training
