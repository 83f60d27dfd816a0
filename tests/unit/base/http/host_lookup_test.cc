#include "base/http/host_lookup.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <exception>
#include <string>
#include <utility>

#include "gtest/gtest.h"

namespace llava {
namespace {

HostLookup LookUp(const std::string& host, Duration time) {
  const std::string port = "80";
  const RealClock clock;
  boost::asio::io_context context;
  const boost::asio::any_io_executor executor = context.get_executor();
  HostLookup result;
  boost::asio::co_spawn(
      context, LookUpHost(&executor, &host, &port, clock.Now() + time),
      [&](const std::exception_ptr&, HostLookup got) { result = std::move(got); });
  context.run();
  return result;
}

TEST(HostLookup, AnAddressIsWhatItSays) {
  const HostLookup found = LookUp("127.0.0.1", std::chrono::seconds(60));
  ASSERT_TRUE(found.is_known()) << found.error.message();
  EXPECT_EQ(found.endpoints.front().address().to_string(), "127.0.0.1");
  EXPECT_EQ(found.endpoints.front().port(), 80);
}

TEST(HostLookup, WithoutAnAnswerInTimeThereIsAnError) {
  for (int i = 0; i < 20; ++i) {
    const HostLookup late = LookUp("127.0.0.1", -std::chrono::seconds(1));
    EXPECT_TRUE(late.is_known() || late.error);  // whichever came first
  }
}

}  // namespace
}  // namespace llava
