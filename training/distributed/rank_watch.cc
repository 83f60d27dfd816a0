#include "training/distributed/rank_watch.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/ranks/c10d_backend.h"

namespace llava::training {
namespace {

using model::WhatOf;

constexpr char kLost[] = "lost";
constexpr Duration kLongestInterval = std::chrono::seconds(1);
constexpr int kStuck = 1;  // exit code

std::string AliveKey(int rank) { return absl::StrCat("alive/", rank); }
std::string LeftKey(int rank) { return absl::StrCat("left/", rank); }
std::string FailedKey(int rank) { return absl::StrCat("failed/", rank); }

void Set(c10d::Store& store, const std::string& key, const std::string& value) {
  store.set(key, std::vector<std::uint8_t>(value.begin(), value.end()));
}

// "" when there is no such key; never waits.
std::string Get(c10d::Store& store, const std::string& key) {
  if (!store.check({key})) return "";
  const std::vector<std::uint8_t> value = store.get(key);
  return std::string(value.begin(), value.end());
}

}  // namespace

RankWatch::RankWatch(c10::intrusive_ptr<c10d::Store> store, const RankPlace& place,
                     Duration lost_after, const Clock& clock)
    : store_(std::move(store)),
      place_(place),
      lost_after_(lost_after),
      interval_(std::min(kLongestInterval, lost_after / 10)),
      clock_(clock),
      peers_(static_cast<std::size_t>(place.size), Peer{"", clock.Now()}) {
  peers_[static_cast<std::size_t>(place.rank)].left = true;  // nobody to wait for
  thread_ = std::jthread([this] { Loop(); });
}

RankWatch::~RankWatch() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void RankWatch::Loop() {
  for (;;) {
    try {
      Beat();
    } catch (const std::exception& error) {
      Lost(absl::StrCat("rank 0 was lost: its store does not answer (", WhatOf(error), ")"));
    }
    EndIfStuck();
    const TimePoint until = clock_.Now() + interval_;
    MutexLock lock(&mutex_);
    while (!stopping_ && clock_.Now() < until) {
      if (!changed_.WaitUntil(&mutex_, until)) break;
    }
    if (stopping_) return;
  }
}

void RankWatch::Beat() {
  {
    MutexLock lock(&mutex_);
    if (!lost_.empty() && !leaving_) return;
    beat_began_ = clock_.Now();
  }
  Set(*store_, AliveKey(place_.rank), absl::StrCat(++beats_));
  const std::string told = Get(*store_, kLost);
  if (!told.empty()) return Lost(told);
  const TimePoint now = clock_.Now();
  for (int rank = 0; rank < place_.size; ++rank) {
    if (rank != place_.rank) Look(rank, now);
  }
  MutexLock lock(&mutex_);
  everybody_left_ = std::all_of(peers_.begin(), peers_.end(), [](const Peer& p) { return p.left; });
  beat_began_ = {};
  changed_.NotifyAll();
}

void RankWatch::Look(int rank, TimePoint now) {
  Peer& peer = peers_[static_cast<std::size_t>(rank)];
  if (peer.left) return;
  if (!Get(*store_, LeftKey(rank)).empty()) {
    peer.left = true;
    return;
  }
  const std::string failure = Get(*store_, FailedKey(rank));
  if (!failure.empty()) {
    peer.left = true;
    return Lost(absl::StrCat("rank ", rank, " failed: ", failure));
  }
  std::string count = Get(*store_, AliveKey(rank));
  if (count != peer.count) {
    peer.count = std::move(count);
    peer.changed = now;
  } else if (now - peer.changed >= lost_after_) {
    const std::string message = absl::StrFormat("rank %d was lost: no sign of life for %.0f s",
                                                rank, Seconds(now - peer.changed));
    peer.left = true;
    Set(*store_, kLost, message);
    Lost(message);
  }
}

void RankWatch::Lost(const std::string& message) {
  MutexLock lock(&mutex_);
  if (!lost_.empty() || leaving_) return;
  lost_ = message;
  lost_at_ = clock_.Now();
  changed_.NotifyAll();
}

void RankWatch::EndIfStuck() {
  MutexLock lock(&mutex_);
  if (lost_.empty() || clock_.Now() - lost_at_ < lost_after_) return;
  std::fprintf(stderr, "rank %d ends: %s\n", place_.rank, lost_.c_str());
  ::_exit(kStuck);
}

absl::Status RankWatch::Explain(const std::string& failure) {
  const TimePoint until = clock_.Now() + 2 * lost_after_;
  MutexLock lock(&mutex_);
  while (lost_.empty()) {
    if (!changed_.WaitUntil(&mutex_, until)) break;
  }
  if (!lost_.empty()) return absl::UnavailableError(lost_);
  const bool waiting = beat_began_ != TimePoint() && clock_.Now() - beat_began_ >= lost_after_;
  return absl::UnavailableError(
      absl::StrCat(waiting ? "rank 0 was lost: its store does not answer ("
                           : "all ranks show signs of life, but a call to them failed (",
                   failure, ")"));
}

void RankWatch::Leave(const absl::Status& status) {
  bool told = false;
  {
    MutexLock lock(&mutex_);
    leaving_ = true;
    told = !lost_.empty();
  }
  try {
    if (status.ok() || absl::IsCancelled(status)) {
      Set(*store_, LeftKey(place_.rank), "1");
    } else if (told) {
      Set(*store_, kLost, std::string(status.message()));
      Set(*store_, LeftKey(place_.rank), "1");
    } else {
      Set(*store_, FailedKey(place_.rank), std::string(status.message()));
    }
  } catch (const std::exception&) {
    return;  // rank 0 is gone: nobody is left to be told
  }
  if (place_.rank != 0) return;
  const TimePoint until = clock_.Now() + lost_after_;
  MutexLock lock(&mutex_);
  while (!everybody_left_) {
    if (!changed_.WaitUntil(&mutex_, until)) break;
  }
}

}  // namespace llava::training
