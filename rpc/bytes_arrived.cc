#include "rpc/bytes_arrived.h"

// The C library's tcp_info ends before the count; the kernel's header and the C library's cannot be
// included together, and Boost's includes the latter.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace llava::rpc {

std::int64_t BytesArrived(int fd) {
  tcp_info info = {};
  socklen_t size = sizeof(info);
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return -1;
  return static_cast<std::int64_t>(info.tcpi_bytes_received);
}

}  // namespace llava::rpc
