#include "base/http/host_lookup.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/error.hpp>
#include <memory>
#include <utility>

namespace llava {

namespace asio = boost::asio;
using asio::ip::tcp;

asio::awaitable<HostLookup> LookUpHost(const asio::any_io_executor* executor,
                                       const std::string* host, const std::string* port,
                                       TimePoint until) {
  struct Running {
    explicit Running(const asio::any_io_executor& on) : resolver(on), timer(on) {}
    tcp::resolver resolver;
    asio::steady_timer timer;
    HostLookup found{boost::beast::error::timeout, {}};
  };
  auto running = std::make_shared<Running>(*executor);
  running->timer.expires_at(until);
  running->resolver.async_resolve(
      *host, *port, tcp::resolver::numeric_service,
      [running](boost::system::error_code error, const tcp::resolver::results_type& found) {
        running->found.error = error;
        for (const auto& entry : found) running->found.endpoints.push_back(entry.endpoint());
        running->timer.cancel();
      });
  [[maybe_unused]] auto [ended] =
      co_await running->timer.async_wait(asio::as_tuple(asio::use_awaitable));
  co_return std::move(running->found);
}

}  // namespace llava
