#include "rpc/health_service.h"

#include <gmock/gmock.h>

#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/unit/rpc/rpc_fixture.h"

namespace llava::rpc {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

class HealthServiceTest : public RpcTest {
 protected:
  struct Watcher {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> reader;

    // UNKNOWN when the stream has ended.
    HealthCheckResponse::ServingStatus Next() const {
      HealthCheckResponse response;
      return reader->Read(&response) ? response.status() : HealthCheckResponse::UNKNOWN;
    }
  };

  std::unique_ptr<Watcher> Watch(const std::string& service) {
    auto watcher = std::make_unique<Watcher>();
    HealthCheckRequest request;
    request.set_service(service);
    watcher->reader = Health::NewStub(channel_)->Watch(&watcher->context, request);
    return watcher;
  }
};

TEST_F(HealthServiceTest, AWatcherIsToldNowAndWheneverItChanges) {
  Start();
  const auto all = Watch("");
  const auto echo = Watch("test.Echo");
  const auto unknown = Watch("no.such.Service");
  EXPECT_EQ(all->Next(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(echo->Next(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(unknown->Next(), HealthCheckResponse::SERVICE_UNKNOWN);
  server_->SetServing(true);
  EXPECT_EQ(all->Next(), HealthCheckResponse::SERVING);
  EXPECT_EQ(echo->Next(), HealthCheckResponse::SERVING);
  echo->context.TryCancel();
  EXPECT_EQ(echo->reader->Finish().error_code(), grpc::CANCELLED);
  server_->Stop(RealClock().Now() + std::chrono::hours(1));  // which waits for no watcher
  EXPECT_EQ(all->Next(), HealthCheckResponse::UNKNOWN);
  EXPECT_EQ(all->reader->Finish().error_code(), grpc::UNAVAILABLE);
}

// What changes before the last answer is known to be written is told too.
TEST_F(HealthServiceTest, AWatcherIsToldOfChangesThatFollowEachOther) {
  Start();
  server_->SetServing(true);
  const auto watcher = Watch("");
  EXPECT_EQ(watcher->Next(), HealthCheckResponse::SERVING);
  for (int round = 0; round < 200; ++round) {
    server_->SetServing(false);
    ASSERT_EQ(watcher->Next(), HealthCheckResponse::NOT_SERVING);
    server_->SetServing(true);
    ASSERT_EQ(watcher->Next(), HealthCheckResponse::SERVING);
  }
  watcher->context.TryCancel();
}

// A liveness probe that followed readiness would have a server restarted that waits for a model.
TEST_F(HealthServiceTest, TheProcessLivesWhetherItServesOrNot) {
  Start();
  const auto liveness = Watch(HealthService::kLiveness);
  EXPECT_EQ(liveness->Next(), HealthCheckResponse::SERVING);
  for (const bool serving : {false, true, false}) {
    server_->SetServing(serving);
    grpc::ClientContext context;
    HealthCheckRequest request;
    request.set_service(HealthService::kLiveness);
    HealthCheckResponse response;
    EXPECT_TRUE(Health::NewStub(channel_)->Check(&context, request, &response).ok());
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  }
}

TEST_F(HealthServiceTest, TooManyWatchersEndTheOldestAndLockNobodyOut) {
  Start();
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  std::vector<std::unique_ptr<Watcher>> watchers;
  for (std::size_t i = 0; i <= HealthService::kMaxCalls; ++i) {
    if (i % 100 == 0) {  // calls of one connection are bounded, too
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      channel_ = grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                           grpc::InsecureChannelCredentials(), arguments);
      channels.push_back(channel_);
    }
    watchers.push_back(Watch(""));
    EXPECT_EQ(watchers.back()->Next(), HealthCheckResponse::NOT_SERVING);
  }
  EXPECT_EQ(watchers.front()->Next(), HealthCheckResponse::UNKNOWN);
  EXPECT_EQ(watchers.front()->reader->Finish().error_code(), grpc::RESOURCE_EXHAUSTED);
  server_->SetServing(true);
  EXPECT_EQ(watchers.at(1)->Next(), HealthCheckResponse::SERVING);
  EXPECT_TRUE(Call("/grpc.health.v1.Health/Check", "", "").ok());
  for (const auto& watcher : watchers) watcher->context.TryCancel();
}

TEST_F(HealthServiceTest, AQuestionIsShort) {
  Start();
  const std::string longer = "\x0a\x88\x27" + std::string(5000, 'x');
  EXPECT_EQ(Call("/grpc.health.v1.Health/Check", longer, "").error_code(), grpc::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace llava::rpc
