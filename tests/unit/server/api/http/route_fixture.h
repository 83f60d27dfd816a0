// The routes of models and chat behind a real server, on a real engine with a fake executor.
#ifndef LLAVA_TESTS_UNIT_SERVER_API_HTTP_ROUTE_FIXTURE_H_
#define LLAVA_TESTS_UNIT_SERVER_API_HTTP_ROUTE_FIXTURE_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/api/http/server.h"
#include "tests/unit/server/chat/chat_runner_fixture.h"

namespace llava::api {

// alice may chat with the token "a", root administrates with "r".
class RouteFixture : public ChatRunnerFixture {
 protected:
  using Reply = boost::beast::http::response<boost::beast::http::string_body>;

  RouteFixture()
      : auth_(*rpc::Auth::FromText(absl::StrCat("alice chat sha256:", Sha256Of("a").Hex(),
                                                "\nroot admin sha256:", Sha256Of("r").Hex(), "\n"),
                                   "tokens")) {}
  ~RouteFixture() override {
    if (server_ != nullptr) server_->Stop(TimePoint::max());
    io_.Stop();
  }

  // Once the routes are there.
  void Start() {
    HttpOptions options;
    options.listen = "127.0.0.1:0";
    server_ = *HttpServer::Start(options, &io_, &router_);
  }

  // The answer to a request with this token; none where it is empty.
  Reply Send(boost::beast::http::verb method, const std::string& target,
             const std::string& body = "", const std::string& token = "a") {
    boost::asio::io_context context;
    boost::asio::ip::tcp::socket socket(context);
    socket.connect({boost::asio::ip::make_address("127.0.0.1"),
                    static_cast<boost::asio::ip::port_type>(server_->port())});
    HttpRequest request(method, target, 11);
    request.set(boost::beast::http::field::host, "x");
    request.set(boost::beast::http::field::content_type, "application/json");
    request.set("X-Request-Id", "mine");
    if (!token.empty()) request.set(boost::beast::http::field::authorization, "Bearer " + token);
    request.body() = body;
    request.prepare_payload();
    boost::beast::http::write(socket, request);
    boost::beast::flat_buffer buffer;
    Reply reply;
    boost::beast::http::read(socket, buffer, reply);
    return reply;
  }
  Reply Get(const std::string& target) { return Send(boost::beast::http::verb::get, target); }
  Reply Post(const std::string& target, const std::string& body) {
    return Send(boost::beast::http::verb::post, target, body);
  }
  static boost::json::object Json(const Reply& reply) {
    return boost::json::parse(reply.body()).as_object();
  }
  // The field that a refused request had wrong; the status is checked on the way.
  static std::string WrongField(const Reply& reply) {
    EXPECT_EQ(reply.result_int(), 400u) << reply.body();
    const boost::json::object error = Json(reply).at("error").as_object();
    return error.at("param").is_string() ? std::string(error.at("param").as_string()) : "";
  }

  const rpc::Auth auth_;
  HttpRouter router_{&auth_};
  IoPool io_{2};
  std::unique_ptr<HttpServer> server_;
};

}  // namespace llava::api

#endif  // LLAVA_TESTS_UNIT_SERVER_API_HTTP_ROUTE_FIXTURE_H_
