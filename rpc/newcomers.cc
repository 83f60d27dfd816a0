#include "rpc/newcomers.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "rpc/host_port.h"

namespace llava::rpc {

namespace ip = boost::asio::ip;

namespace {

// gRPC writes an address that is mapped into IPv6 as the IPv4 address that it is.
ip::address Plain(const ip::address& address) {
  if (!address.is_v6() || !address.to_v6().is_v4_mapped()) return address;
  return ip::make_address_v4(ip::v4_mapped, address.to_v6());
}

std::optional<std::pair<ip::address, std::uint16_t>> ParsePeer(absl::string_view peer) {
  if (!absl::ConsumePrefix(&peer, "ipv4:") && !absl::ConsumePrefix(&peer, "ipv6:")) return {};
  const std::string text = absl::StrReplaceAll(peer, {{"%5B", "["}, {"%5D", "]"}, {"%25", "%"}});
  const auto address = ParseHostPort(text);
  if (!address.ok()) return {};
  boost::system::error_code error;
  const ip::address host = ip::make_address(address->host, error);
  int port = 0;
  if (error || !absl::SimpleAtoi(address->port, &port)) return {};
  return std::pair(Plain(host), static_cast<std::uint16_t>(port));
}

}  // namespace

std::uint64_t InodeOf(int fd) {
  struct stat info = {};
  return fstat(fd, &info) == 0 ? info.st_ino : 0;
}

void Newcomers::Add(int fd, const ip::tcp::endpoint& peer) {
  MutexLock lock(&mutex_);
  // Whoever had the same address and port before is gone.
  newcomers_[{Plain(peer.address()), peer.port()}] = {fd, InodeOf(fd), limits_.free_bytes};
}

void Newcomers::Prove(absl::string_view peer) {
  const auto who = ParsePeer(peer);
  if (!who) return;
  MutexLock lock(&mutex_);
  newcomers_.erase(*who);
}

int Newcomers::Look(TimePoint now) {
  MutexLock lock(&mutex_);
  int cut = 0;
  for (auto it = newcomers_.begin(); it != newcomers_.end();) {
    Newcomer& newcomer = it->second;
    const bool open = InodeOf(newcomer.fd) == newcomer.inode;
    const std::int64_t more = open ? arrived_(newcomer.fd) - newcomer.paid : 0;
    const bool too_much = more > 0 && !Pays(it->first, more, now);
    if (too_much) {
      shutdown(newcomer.fd, SHUT_RDWR);
      ++cut;
    }
    newcomer.paid += std::max<std::int64_t>(0, more);
    it = !open || too_much ? newcomers_.erase(it) : std::next(it);
  }
  // Purses that are full again would be remembered for ever.
  std::erase_if(purses_, [&](const auto& purse) {
    return Seconds(now - purse.second.filled) * static_cast<double>(limits_.rate) >=
           static_cast<double>(limits_.purse);
  });
  return cut;
}

bool Newcomers::Pays(const Peer& peer, std::int64_t bytes, TimePoint now) {
  const auto [it, is_new] = purses_.try_emplace(ClientNetwork(peer.first), limits_.purse, now);
  Purse& purse = it->second;
  const auto earned =
      static_cast<std::int64_t>(Seconds(now - purse.filled) * static_cast<double>(limits_.rate));
  purse.filled = now;
  purse.bytes = std::min(limits_.purse, purse.bytes + earned);
  if (bytes > purse.bytes) return false;
  purse.bytes -= bytes;
  return true;
}

bool Newcomers::empty() const {
  MutexLock lock(&mutex_);
  return newcomers_.empty();
}

}  // namespace llava::rpc
