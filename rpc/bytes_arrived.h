// How much has come over a TCP connection, whoever reads it.
#ifndef LLAVA_RPC_BYTES_ARRIVED_H_
#define LLAVA_RPC_BYTES_ARRIVED_H_

#include <cstdint>

namespace llava::rpc {

// By the kernel's count, from the connection's begin; -1 when `fd` is no TCP connection.
std::int64_t BytesArrived(int fd);

}  // namespace llava::rpc

#endif  // LLAVA_RPC_BYTES_ARRIVED_H_
