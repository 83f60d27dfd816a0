// Images from a server of ours on loopback: what is fetched, and what is refused before anybody is
// asked. tests/integration/rebinding_test.py has names whose addresses change.
#include "server/api/http/image_fetcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "tests/support/scripted_server.h"

namespace llava::api {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Picture(const std::string& bytes) {
  return absl::StrCat("HTTP/1.1 200 OK\r\nContent-Length: ", bytes.size(), "\r\n\r\n", bytes);
}

std::string Redirect(const std::string& place, int status = 302) {
  return absl::StrCat("HTTP/1.1 ", status, " X\r\nLocation: ", place,
                      "\r\nContent-Length: 0\r\n\r\n");
}

class ImageFetcherTest : public ::testing::Test {
 protected:
  // A server that gives its n-th caller the n-th of `answers`.
  void Serve(std::vector<std::string> answers) {
    server_ = std::make_unique<test::ScriptedServer>(std::move(answers));
    const std::string url = server_->url();  // http://127.0.0.1:PORT/v1
    origin_ = url.substr(0, url.rfind('/'));
    authority_ = origin_.substr(std::string("http://").size());
  }
  std::size_t asked() const { return server_->bodies().size(); }

  // Loopback is not public: it must be allowed, unless a test wants otherwise.
  FetchOptions Options(const std::vector<std::string>& networks = {"127.0.0.0/8"}) const {
    FetchOptions options;
    const auto policy = AddressPolicy::Make({authority_}, networks);
    EXPECT_TRUE(policy.ok()) << policy.status();
    options.policy = *policy;
    options.timeout = std::chrono::hours(1);
    return options;
  }

  static OpenAiRequest Request(const std::vector<std::string>& urls) {
    OpenAiRequest request;
    for (std::size_t i = 0; i < urls.size(); ++i) {
      request.call.images.push_back({.bytes = {}, .field = absl::StrCat("image[", i, "]")});
      request.remote.push_back({.image = i, .url = urls[i]});
    }
    return request;
  }

  absl::Status Fetch(const FetchOptions& options, OpenAiRequest* request) {
    ImageFetcher fetcher(options, &clock_);
    std::vector<BodyCharge> charges;
    boost::asio::io_context context;
    const boost::asio::any_io_executor executor = context.get_executor();
    const BodyOwner owner{.token = "ann", .address = "127.0.0.1"};
    absl::Status status = absl::UnknownError("the fetcher did not end");
    boost::asio::co_spawn(context, fetcher.Fetch(executor, owner, request, &charges),
                          [&](const std::exception_ptr& thrown, absl::Status got) {
                            if (thrown == nullptr) status = std::move(got);
                          });
    context.run();
    return status;
  }

  // What is said of a URL that is not fetched; the field is checked on the way.
  std::string Refusal(const FetchOptions& options, const std::string& url) {
    OpenAiRequest request = Request({url});
    const absl::Status status = Fetch(options, &request);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << url << ": " << status;
    EXPECT_EQ(FieldOf(status), "image[0]") << url;
    EXPECT_THAT(request.image_bytes, IsEmpty()) << url;
    return std::string(status.message());
  }

  const RealClock clock_;
  std::unique_ptr<test::ScriptedServer> server_;
  std::string origin_, authority_;  // http://127.0.0.1:PORT, 127.0.0.1:PORT
};

TEST_F(ImageFetcherTest, EachImageGetsTheBytesOfItsUrl) {
  Serve({Picture("first"), Picture("second")});
  OpenAiRequest request = Request({origin_ + "/a.png", origin_ + "/b.png?x=1"});
  const absl::Status status = Fetch(Options(), &request);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(request.image_bytes, ElementsAre("first", "second"));
  EXPECT_EQ(request.call.images[0].bytes, "first");
  EXPECT_EQ(request.call.images[1].bytes, "second");
}

TEST_F(ImageFetcherTest, WithoutHostsNothingIsFetched) {
  Serve({Picture("x")});
  EXPECT_THAT(Refusal(FetchOptions(), origin_ + "/a.png"), HasSubstr("expected a data: URI"));
  EXPECT_EQ(asked(), 0u);
}

TEST_F(ImageFetcherTest, UrlsThatNobodyIsAskedFor) {
  Serve({Picture("x")});
  const std::pair<std::string, std::string> refused[] = {
      {"ftp://" + authority_ + "/a.png", "expected an http: or https: URL"},
      {"file:///etc/passwd", "expected an http: or https: URL"},
      {"http://ann:pw@" + authority_ + "/a.png", "expected no user name"},
      {"http://ann@" + authority_ + "/a.png", "expected no user name"},
      {"http://127.0.0.1:1/a.png", "127.0.0.1:1 is not among the server's image_url_hosts"},
      {"http://localhost/a.png", "is not among"},
      {"http://127.0.0.1/a.png", "is not among"},  // the port is not the listed one
      {"http://127.0.0.1%00." + authority_ + "/a.png", "malformed"},
      {"http://a%2fb/a.png", "malformed"},
      {"http://127.0.0.1x/", "malformed"},
      {"no url", "malformed"},
      {origin_ + "/" + std::string(9000, 'x'), "malformed"},
  };
  for (const auto& [url, why] : refused) EXPECT_THAT(Refusal(Options(), url), HasSubstr(why));
  EXPECT_EQ(asked(), 0u);
}

// The list of hosts says who may be asked, not where: an address inside is refused all the same.
TEST_F(ImageFetcherTest, AnAddressThatIsNotPublicIsNotConnectedTo) {
  Serve({Picture("x")});
  EXPECT_THAT(Refusal(Options({}), origin_ + "/a.png"), HasSubstr("address that is not public"));
  EXPECT_THAT(Refusal(Options({"10.0.0.0/8"}), origin_ + "/a.png"), HasSubstr("not public"));
  EXPECT_EQ(asked(), 0u);
}

TEST_F(ImageFetcherTest, RedirectsAreFollowedRelativeOnesToo) {
  for (const int status : {301, 302, 303, 307, 308}) {
    Serve({Redirect("/there.png", status), Picture("there")});
    OpenAiRequest request = Request({origin_ + "/here.png"});
    const absl::Status got = Fetch(Options(), &request);
    ASSERT_TRUE(got.ok()) << status << ": " << got;
    EXPECT_THAT(request.image_bytes, ElementsAre("there")) << status;
    EXPECT_EQ(asked(), 2u);
  }
}

// Whoever is allowed to answer is not allowed to send the daemon elsewhere.
TEST_F(ImageFetcherTest, EachHopIsCheckedAsTheFirst) {
  const std::pair<std::string, std::string> places[] = {
      {"http://169.254.169.254/latest/meta-data", "is not among"},
      {"http://127.0.0.1:1/", "is not among"},
      {"file:///etc/passwd", "expected an http: or https: URL"},
      {"//ann@127.0.0.1/", "expected no user name"},
      {"http://[", "redirected to a malformed URL"},
  };
  for (const auto& [place, why] : places) {
    Serve({Redirect(place), Picture("inside")});
    EXPECT_THAT(Refusal(Options(), origin_ + "/a.png"), HasSubstr(why)) << place;
    EXPECT_EQ(asked(), 1u) << place;
  }
}

TEST_F(ImageFetcherTest, ThreeRedirectsAreEnough) {
  Serve({Redirect("/1"), Redirect("/2"), Redirect("/3"), Picture("x")});
  OpenAiRequest request = Request({origin_ + "/0"});
  EXPECT_TRUE(Fetch(Options(), &request).ok());
  Serve({Redirect("/again")});
  EXPECT_THAT(Refusal(Options(), origin_ + "/a.png"), HasSubstr("redirected too often"));
  EXPECT_EQ(asked(), 4u);
}

TEST_F(ImageFetcherTest, OnlyA200HasAnImage) {
  for (const int status : {204, 206, 304, 404, 500}) {
    Serve({absl::StrCat("HTTP/1.1 ", status, " X\r\nContent-Length: 0\r\n\r\n")});
    EXPECT_THAT(Refusal(Options(), origin_ + "/a.png"),
                HasSubstr(absl::StrCat("its server answers ", status)));
  }
  Serve({"HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n"});  // to nowhere
  EXPECT_THAT(Refusal(Options(), origin_ + "/a.png"), HasSubstr("its server answers 302"));
  Serve({"this is not HTTP\r\n\r\n"});
  EXPECT_THAT(Refusal(Options(), origin_ + "/a.png"), HasSubstr("cannot be fetched"));
  Serve({"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut"});
  EXPECT_THAT(Refusal(Options(), origin_ + "/a.png"), HasSubstr("cannot be fetched"));
}

TEST_F(ImageFetcherTest, AnImageMayHaveSoManyBytes) {
  FetchOptions options;
  const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const std::string& answer : {Picture(std::string(101, 'x')),
                                    chunked + "65\r\n" + std::string(101, 'x') + "\r\n0\r\n\r\n",
                                    "HTTP/1.1 200 OK\r\n\r\n" + std::string(101, 'x')}) {
    Serve({answer});
    options = Options();
    options.max_image_bytes = 100;
    EXPECT_THAT(Refusal(options, origin_ + "/a.png"), HasSubstr("has more than 100 bytes"));
  }
  Serve({Picture(std::string(100, 'x'))});
  options = Options();
  options.max_image_bytes = 100;
  OpenAiRequest request = Request({origin_ + "/a.png"});
  EXPECT_TRUE(Fetch(options, &request).ok());
}

TEST_F(ImageFetcherTest, AllImagesOfARequestShareItsBytes) {
  Serve({Picture(std::string(60, 'x')), Picture(std::string(60, 'y'))});
  FetchOptions options = Options();
  options.max_request_bytes = 100;
  OpenAiRequest request = Request({origin_ + "/a.png", origin_ + "/b.png"});
  const absl::Status status = Fetch(options, &request);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_EQ(FieldOf(status), "image[1]");
  EXPECT_THAT(std::string(status.message()), HasSubstr("has more than 40 bytes"));
}

// The client may come again: it is not its picture's fault.
TEST_F(ImageFetcherTest, WhatAllRequestsHoldIsBounded) {
  Serve({Picture(std::string(300 << 10, 'x')), Picture(std::string(400 << 10, 'x'))});
  FetchOptions options = Options();
  options.max_total_bytes = 1 << 20;  // of which one owner may hold a third
  OpenAiRequest fits = Request({origin_ + "/a.png"});
  EXPECT_TRUE(Fetch(options, &fits).ok());
  OpenAiRequest request = Request({origin_ + "/b.png"});
  const absl::Status status = Fetch(options, &request);
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
}

TEST_F(ImageFetcherTest, TooManyImagesAreRefusedBeforeTheFirst) {
  Serve({Picture("x")});
  FetchOptions options = Options();
  options.max_images = 2;
  OpenAiRequest request = Request({origin_ + "/a", origin_ + "/b", origin_ + "/c"});
  const absl::Status status = Fetch(options, &request);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_EQ(FieldOf(status), "messages");
  EXPECT_THAT(std::string(status.message()), HasSubstr("3 images, expected at most 2"));
  EXPECT_EQ(asked(), 0u);
}

// Connections to it are made, and then nothing comes.
TEST_F(ImageFetcherTest, ASilentServerIsGivenUp) {
  boost::asio::io_context context;
  const boost::asio::ip::tcp::acceptor silent(context,
                                              {boost::asio::ip::make_address("127.0.0.1"), 0});
  authority_ = absl::StrCat("127.0.0.1:", silent.local_endpoint().port());
  FetchOptions options = Options();
  options.timeout = std::chrono::milliseconds(50);
  EXPECT_THAT(Refusal(options, "http://" + authority_ + "/a.png"), HasSubstr("took too long"));
}

TEST_F(ImageFetcherTest, AServerThatIsNotThereIsNamed) {
  Serve({Picture("x")});
  const FetchOptions options = Options();
  const std::string url = origin_ + "/a.png";
  server_.reset();
  const std::string why = Refusal(options, url);
  EXPECT_THAT(why, HasSubstr(url));
  EXPECT_THAT(why, HasSubstr("cannot be fetched"));
}

}  // namespace
}  // namespace llava::api
