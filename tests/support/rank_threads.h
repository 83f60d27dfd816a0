// The ranks of a run as threads of one test, over Gloo on loopback.
#ifndef LLAVA_TESTS_SUPPORT_RANK_THREADS_H_
#define LLAVA_TESTS_SUPPORT_RANK_THREADS_H_

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "model/ranks/c10d_backend.h"
#include "training/distributed/ranks.h"

namespace llava::test {

// A port of loopback that nobody listened on a moment ago.
inline std::uint16_t FreePort() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  LLAVA_CHECK(fd >= 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  LLAVA_CHECK(::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0);
  LLAVA_CHECK(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  ::close(fd);
  return ntohs(address.sin_port);
}

// Runs `work` once a rank, all at the same time; returns when all have ended.
inline void OnRanks(int size, const std::function<void(training::Ranks&)>& work) {
  model::TurnOffFlightRecorder();
  const RealClock clock;
  const std::uint16_t port = FreePort();
  std::vector<std::unique_ptr<training::Ranks>> ranks(static_cast<std::size_t>(size));
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < size; ++rank) {
      threads.emplace_back([&, rank] {
        const training::RankPlace place{rank, size, rank, "127.0.0.1", port};
        auto joined = training::Ranks::Join(place, {}, clock);
        ASSERT_TRUE(joined.ok()) << joined.status();
        ranks[static_cast<std::size_t>(rank)] = *std::move(joined);
        work(*ranks[static_cast<std::size_t>(rank)]);
      });
    }
  }
  while (!ranks.empty()) ranks.pop_back();  // rank 0, which keeps the store, goes last
}

}  // namespace llava::test

#endif  // LLAVA_TESTS_SUPPORT_RANK_THREADS_H_
