// Fetches images that clients name by http: and https: URLs, from servers that the operator has
// allowed. Off unless the policy has a host.
#ifndef LLAVA_SERVER_API_HTTP_IMAGE_FETCHER_H_
#define LLAVA_SERVER_API_HTTP_IMAGE_FETCHER_H_

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ssl/context.hpp>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "base/clock.h"
#include "server/api/http/address_policy.h"
#include "server/api/openai/request.h"

namespace llava::api {

struct FetchOptions {
  AddressPolicy policy;
  std::int64_t max_images = 16;
  std::int64_t max_image_bytes = std::int64_t{20} << 20;
  // All images of one request, and of all requests that fetch at the same time.
  std::int64_t max_request_bytes = std::int64_t{64} << 20;
  std::int64_t max_total_bytes = std::int64_t{512} << 20;
  Duration timeout = std::chrono::seconds(10);  // for all images of a request
};

// Thread-safe. Owned by the app.
class ImageFetcher {
 public:
  // The certificate authorities are the system's. `clock` outlives the fetcher.
  ImageFetcher(FetchOptions options, const Clock* clock);

  // What a request's images may take, given back when it is destroyed.
  class Budget {
   public:
    Budget() = default;
    Budget(std::atomic<std::int64_t>* total, std::int64_t bytes) : total_(total), bytes_(bytes) {}
    Budget(Budget&& other) noexcept { *this = std::move(other); }
    Budget& operator=(Budget&& other) noexcept {
      std::swap(total_, other.total_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Budget() {
      if (total_ != nullptr) total_->fetch_sub(bytes_);
    }

   private:
    std::atomic<std::int64_t>* total_ = nullptr;
    std::int64_t bytes_ = 0;
  };

  // REQUIRES: request->remote is not empty. Fills the bytes of all of it; `budget` must live as
  // long as they do. Runs in `executor`, a strand; all three outlive the run.
  // INVALID_ARGUMENT with the field's path for everything that is wrong with a URL, its server or
  // its answer; RESOURCE_EXHAUSTED when too many requests fetch already.
  //
  // Each hop, redirects too: the host is on the list, every address it resolves to is allowed, and
  // the connection goes to one of these very addresses.
  boost::asio::awaitable<absl::Status> Fetch(const boost::asio::any_io_executor& executor,
                                             OpenAiRequest* request, Budget* budget);

 private:
  const FetchOptions options_;
  const Clock* const clock_;
  boost::asio::ssl::context tls_;
  std::atomic<std::int64_t> total_bytes_ = 0;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_IMAGE_FETCHER_H_
