// What every call of our services passes before its message becomes objects: the token first, from
// the call's metadata and before a byte of the message is asked for, then the raw bytes.
#ifndef LLAVA_RPC_CALL_GUARD_H_
#define LLAVA_RPC_CALL_GUARD_H_

#include <google/protobuf/message.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rpc/auth.h"
#include "rpc/message_waits.h"
#include "rpc/wire_check.h"

namespace llava::rpc {

// Thread-safe. Owned by the app; outlives the services that use it.
class CallGuard {
 public:
  struct Limits {
    WireLimits wire;
    MessageWaits::Limits waits{};
    // Of all messages that are being parsed or turned into requests: their bytes, and
    // kBytesOfField for each of their fields.
    std::int64_t max_parsing_bytes = std::int64_t{256} << 20;
  };

  // A message's share of max_parsing_bytes, until it is destroyed.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept { *this = std::move(other); }
    Share& operator=(Share&& other) noexcept {
      std::swap(guard_, other.guard_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Share() {
      if (guard_ != nullptr) guard_->Release(bytes_);
    }

   private:
    friend class CallGuard;
    explicit Share(CallGuard* guard) : guard_(guard) {}

    CallGuard* guard_ = nullptr;
    std::int64_t bytes_ = 0;
  };

  // `auth` outlives the guard.
  explicit CallGuard(const Auth* auth) : CallGuard(auth, Limits{}) {}
  CallGuard(const Auth* auth, const Limits& limits)
      : auth_(auth), limits_(limits), waits_(limits.waits) {}

  // Told the peer, as gRPC names it, of each call that is authenticated. Set before the first one;
  // any thread calls it.
  void WhenAuthenticated(std::function<void(const std::string& peer)> tell) {
    tell_ = std::move(tell);
  }

  // Where calls wait for their message.
  MessageWaits& waits() { return waits_; }

  // Errors are those of Auth::Check.
  absl::StatusOr<Caller> Authenticate(const grpc::ServerContextBase& context, Role role) const;

  // For what is open to every token, whatever its roles.
  absl::StatusOr<Caller> AuthenticateAny(const grpc::ServerContextBase& context) const;

  // What a field may take as an object: an empty sub-message with its place in a list takes some
  // eighty bytes.
  static constexpr std::int64_t kBytesOfField = 96;

  // Frees `bytes`. INVALID_ARGUMENT when they are not a message of this type or exceed the wire's
  // limits, RESOURCE_EXHAUSTED when too much is being parsed already. `share` is to be kept
  // as long as the message.
  absl::Status Parse(grpc::ByteBuffer* bytes, google::protobuf::Message* message, Share* share);

 private:
  absl::StatusOr<Caller> Told(const grpc::ServerContextBase& context,
                              absl::StatusOr<Caller> caller) const;
  absl::Status Charge(std::int64_t bytes, Share* share);
  void Release(std::int64_t bytes);

  const Auth* const auth_;
  const Limits limits_;
  std::function<void(const std::string& peer)> tell_;
  MessageWaits waits_;
  std::atomic<std::int64_t> parsing_bytes_ = 0;
};

// The value of a key in lower case; empty when it is absent.
std::string MetadataOf(const grpc::ServerContextBase& context, const std::string& key);

// REQUIRES: the message is smaller than 2 GiB.
grpc::ByteBuffer ToBytes(const google::protobuf::Message& message);

}  // namespace llava::rpc

#endif  // LLAVA_RPC_CALL_GUARD_H_
