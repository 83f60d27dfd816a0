// Looks at a serialized message before it is parsed. An empty sub-message takes two bytes on the
// wire and some eighty as an object: what may be parsed is bounded in fields, not in bytes alone.
#ifndef LLAVA_RPC_WIRE_CHECK_H_
#define LLAVA_RPC_WIRE_CHECK_H_

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/zero_copy_stream.h>

#include <cstdint>

#include "absl/status/statusor.h"

namespace llava::rpc {

struct WireLimits {
  // Of the message and all messages in it; each element of a packed field counts. A logit_bias for
  // each of 64Ki tokens (three fields each) is the largest message that makes sense.
  std::int64_t max_fields = std::int64_t{1} << 18;
  // Of messages in messages; ours have four.
  int max_depth = 16;
};

// Reads `bytes`, a message of `type`, to its end or to the first limit, with constant memory.
// How many fields it has, counted as for max_fields. INVALID_ARGUMENT when it is no such message or
// exceeds a limit.
absl::StatusOr<std::int64_t> CheckWire(google::protobuf::io::ZeroCopyInputStream* bytes,
                                       const google::protobuf::Descriptor& type,
                                       const WireLimits& limits);

}  // namespace llava::rpc

#endif  // LLAVA_RPC_WIRE_CHECK_H_
