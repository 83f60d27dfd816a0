#include "client/health_command.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "client/exit_code.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/unit/client/fake_server.h"

namespace llava::client {
namespace {

using ::testing::HasSubstr;
namespace health = grpc::health::v1;

// Serves "" and "a"; knows no other.
class FakeHealth final : public health::Health::Service {
 public:
  grpc::Status Check(grpc::ServerContext*, const health::HealthCheckRequest* request,
                     health::HealthCheckResponse* response) override {
    if (request->service() == "b") return {grpc::NOT_FOUND, "no service b"};
    response->set_status(request->service() == "a" ? health::HealthCheckResponse::NOT_SERVING
                                                   : health::HealthCheckResponse::SERVING);
    return grpc::Status::OK;
  }
};

class HealthCommandTest : public testing::Test {
 protected:
  int Run(const std::string& arguments) {
    CLI::App app("", "llava");
    int exit_code = -1;
    AddHealthCommand(&app, &exit_code);
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    app.parse("health " + arguments);
    out_ = testing::internal::GetCapturedStdout();
    err_ = testing::internal::GetCapturedStderr();
    return exit_code;
  }

  FakeHealth health_;
  FakeServer server_{&health_};
  const std::string there_ = "--server " + server_.address();
  std::string out_;
  std::string err_;
};

TEST_F(HealthCommandTest, TheExitCodeIsZeroOnlyWhenItServes) {
  EXPECT_EQ(Run(there_), kOk);
  EXPECT_EQ(out_, "SERVING\n");
  EXPECT_EQ(Run(there_ + " --service a"), kServerError);
  EXPECT_EQ(out_, "NOT_SERVING\n");
  EXPECT_EQ(Run(there_ + " --service b"), kRequestError);
  EXPECT_THAT(err_, HasSubstr("no service b"));
  EXPECT_EQ(Run("--server 127.0.0.1:1"), kNetworkError);
  EXPECT_EQ(out_, "");
}

// A port that takes connections and never speaks.
TEST_F(HealthCommandTest, ASilentServerIsGivenUp) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const int port = ntohs(address.sin_port);
  EXPECT_EQ(Run("--timeout 0.2 --server 127.0.0.1:" + std::to_string(port)), kServerError);
  close(listener);
}

TEST_F(HealthCommandTest, FilesAndTimesThatAreWrongAreNamed) {
  EXPECT_EQ(Run(there_ + " --ca /nowhere.pem"), kRequestError);
  EXPECT_THAT(err_, HasSubstr("/nowhere.pem"));
  EXPECT_THROW(Run(there_ + " --timeout 0"), CLI::ValidationError);
  testing::internal::GetCapturedStdout();
  testing::internal::GetCapturedStderr();
}

}  // namespace
}  // namespace llava::client
