#include "rpc/grpc_server.h"

#include <gmock/gmock.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include "rpc/port_probe.h"
#include "tests/unit/rpc/rpc_fixture.h"

namespace llava::rpc {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using ::testing::HasSubstr;

constexpr char kAsk[] = "/test.Echo/Ask";

class GrpcServerTest : public RpcTest {};

TEST_F(GrpcServerTest, AnswersWhoeverHasTheRole) {
  Start();
  EXPECT_TRUE(Call(kAsk, "\x0a\x03yes").ok());
  EXPECT_EQ(answer_.Length(), 2u);
  EXPECT_EQ(Call(kAsk, "", "").error_code(), grpc::UNAUTHENTICATED);
  EXPECT_EQ(Call(kAsk, "", "guess").error_code(), grpc::UNAUTHENTICATED);
  EXPECT_EQ(Call(kAsk, "", "r").error_code(), grpc::PERMISSION_DENIED);
  EXPECT_EQ(Call("/test.Echo/No", "").error_code(), grpc::UNIMPLEMENTED);
  EXPECT_EQ(echo_.parsed(), 1);
}

// The message never comes: who waits for it first would wait for ever.
TEST_F(GrpcServerTest, RefusesBeforeTheMessage) {
  Start();
  grpc::ClientContext context;
  grpc::GenericStub stub(channel_);
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareCall(&context, kAsk, &queue);
  void* tag = nullptr;
  bool ok = false;
  call->StartCall(this);
  ASSERT_TRUE(queue.Next(&tag, &ok));
  grpc::Status status;
  call->Finish(&status, this);
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(status.error_code(), grpc::UNAUTHENTICATED);
}

TEST_F(GrpcServerTest, TakesNoCompressedMessage) {
  Start();
  const std::string bomb = "\x0a\xff\xff\x3f" + std::string((1 << 20) - 1, '\0');
  for (const auto algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    const grpc::Status status = Call(kAsk, bomb, "a", algorithm);
    EXPECT_EQ(status.error_code(), grpc::UNIMPLEMENTED) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr("disabled"));
  }
  EXPECT_TRUE(Call(kAsk, bomb).ok());
  EXPECT_EQ(echo_.parsed(), 1);
}

TEST_F(GrpcServerTest, TakesMessagesOfItsSizeAndNoLargerOnes) {
  options_.max_message_bytes = 1000;
  Start();
  const auto of_size = [](std::size_t bytes) {
    const std::size_t text = bytes - 3;
    return std::string("\x0a") + static_cast<char>((text & 127) | 128) +
           static_cast<char>(text >> 7) + std::string(text, 'x');
  };
  EXPECT_TRUE(Call(kAsk, of_size(1000)).ok());
  EXPECT_EQ(Call(kAsk, of_size(1001)).error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(echo_.parsed(), 1);
}

TEST_F(GrpcServerTest, SaysWhatIsWrongWithAMessage) {
  Start();
  const grpc::Status cut = Call(kAsk, "\x0a\x05yes");
  EXPECT_EQ(cut.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(cut.error_message(), HasSubstr("grpc.health.v1.HealthCheckRequest"));
  EXPECT_EQ(Call(kAsk, "\x0a\x01\xff").error_code(), grpc::INVALID_ARGUMENT);
  std::string many;
  for (int i = 0; i < 300'000; ++i) many += std::string("\x12\x00", 2);
  EXPECT_THAT(Call(kAsk, many).error_message(), HasSubstr("fields"));
  EXPECT_EQ(echo_.parsed(), 0);
}

TEST_F(GrpcServerTest, TellsItsHealth) {
  Start();
  constexpr char kCheck[] = "/grpc.health.v1.Health/Check";
  const auto health = [&] {
    EXPECT_TRUE(Call(kCheck, "\x0a\x09test.Echo", "").ok());
    std::vector<grpc::Slice> slices;
    EXPECT_TRUE(answer_.Dump(&slices).ok());
    grpc::health::v1::HealthCheckResponse response;
    EXPECT_TRUE(response.ParseFromArray(slices.at(0).begin(), static_cast<int>(slices[0].size())));
    return response.status();
  };
  EXPECT_EQ(health(), grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  server_->SetServing(true);
  EXPECT_EQ(health(), grpc::health::v1::HealthCheckResponse::SERVING);
  EXPECT_EQ(Call(kCheck, "\x0a\x02no", "").error_code(), grpc::NOT_FOUND);
}

// Whoever says nothing, or stops within its hello, does not keep the connection.
TEST_F(GrpcServerTest, ClosesOnWhoDoesNotFinishTheHandshake) {
  options_.handshake_timeout = std::chrono::milliseconds(50);
  Start();
  for (const std::string& said : {std::string(), Http2Greeting().substr(0, 20)}) {
    asio::io_context io;
    tcp::socket socket(io);
    socket.connect(
        {asio::ip::make_address("127.0.0.1"), static_cast<std::uint16_t>(server_->port())});
    asio::write(socket, asio::buffer(said));
    boost::system::error_code error;
    std::string heard;
    asio::read(socket, asio::dynamic_buffer(heard), error);  // until the server closes
    EXPECT_TRUE(error == asio::error::eof || error == asio::error::connection_reset) << error;
  }
}

TEST_F(GrpcServerTest, NamesThePortThatIsTaken) {
  Start();
  options_.listen = absl::StrCat("127.0.0.1:", server_->port());
  EchoService other(&guard_);
  const auto second = GrpcServer::Start(options_, {&other}, &guard_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(options_.listen));
}

TEST_F(GrpcServerTest, StopsWhileClientsAreConnected) {
  Start();
  EXPECT_TRUE(Call(kAsk, "").ok());
  server_->Stop(RealClock().Now() + std::chrono::seconds(1));
  EXPECT_EQ(Call(kAsk, "").error_code(), grpc::UNAVAILABLE);
}

}  // namespace
}  // namespace llava::rpc
