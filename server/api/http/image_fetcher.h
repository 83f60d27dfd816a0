// Fetches images that clients name by http: and https: URLs, from servers that the operator has
// allowed. Off unless the policy has a host.
#ifndef LLAVA_SERVER_API_HTTP_IMAGE_FETCHER_H_
#define LLAVA_SERVER_API_HTTP_IMAGE_FETCHER_H_

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ssl/context.hpp>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "server/api/http/address_policy.h"
#include "server/api/http/body_budget.h"
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

  // REQUIRES: request->remote is not empty. Fills the bytes of all of it, which are charged to
  // `owner` as they come: `charges` must live as long as they do. Runs in `executor`, a strand; all
  // outlive the run.
  // INVALID_ARGUMENT with the field's path for everything that is wrong with a URL, its server or
  // its answer; RESOURCE_EXHAUSTED when too many requests fetch already.
  //
  // Each hop, redirects too: the host is on the list, every address it resolves to is allowed, and
  // the connection goes to one of these very addresses.
  boost::asio::awaitable<absl::Status> Fetch(const boost::asio::any_io_executor& executor,
                                             const BodyOwner& owner, OpenAiRequest* request,
                                             std::vector<BodyCharge>* charges);

 private:
  const FetchOptions options_;
  const Clock* const clock_;
  boost::asio::ssl::context tls_;
  BodyBudget budget_;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_IMAGE_FETCHER_H_
