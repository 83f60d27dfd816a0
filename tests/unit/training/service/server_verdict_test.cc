// Against a ModelService over a real socket that says what a test tells it to.
#include "training/service/server_verdict.h"

#include <gmock/gmock.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "llava/v1/models.grpc.pb.h"
#include "model/checkpoint/manifest.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

// What is said of the version the n-th time, the last again and again.
struct Answer {
  v1::VersionState state = v1::VERSION_STATE_UNSPECIFIED;  // it is not known
  std::string reason = {};
  bool was_live = false;
  grpc::Status status = grpc::Status::OK;
};

class Daemon final : public v1::ModelService::Service {
 public:
  grpc::Status List(grpc::ServerContext* context, const v1::ListRequest*,
                    v1::ListResponse* response) override {
    MutexLock lock(&mutex_);
    const auto& metadata = context->client_metadata();
    const auto token = metadata.find("authorization");
    if (token != metadata.end()) token_ = std::string(token->second.data(), token->second.size());
    const Answer& answer = answers_[std::min(asked_++, answers_.size() - 1)];
    response->add_versions()->set_version(std::string(64, '0'));
    if (answer.state != v1::VERSION_STATE_UNSPECIFIED) {
      v1::ModelVersion* version = response->add_versions();
      version->set_version(version_);
      version->set_state(answer.state);
      version->set_reason(answer.reason);
    }
    if (answer.was_live) {
      v1::ModelEvent* event = response->add_events();
      event->set_version(version_);
      event->set_state(v1::VERSION_STATE_LIVE);
    }
    return answer.status;
  }

  void Script(const std::string& version, std::vector<Answer> answers) {
    MutexLock lock(&mutex_);
    version_ = version;
    answers_ = std::move(answers);
    asked_ = 0;
  }
  std::size_t asked() {
    MutexLock lock(&mutex_);
    return asked_;
  }
  std::string token() {
    MutexLock lock(&mutex_);
    return token_;
  }

 private:
  Mutex mutex_;
  std::string version_ ABSL_GUARDED_BY(mutex_);
  std::vector<Answer> answers_ ABSL_GUARDED_BY(mutex_);
  std::size_t asked_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string token_ ABSL_GUARDED_BY(mutex_);
};

// Each look at it is a minute later.
class MinuteClock final : public Clock {
 public:
  TimePoint Now() const override { return now_ += std::chrono::minutes(1); }
  std::int64_t UnixMillis() const override { return 0; }

 private:
  mutable TimePoint now_{};
};

class ServerVerdictTest : public ::testing::Test {
 protected:
  ServerVerdictTest() {
    std::filesystem::create_directory(version_dir_);
    const std::string manifest = model::ManifestJson({});
    std::ofstream(version_dir_ + "/manifest.json") << manifest;
    version_ = model::VersionOf(manifest);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&daemon_);
    server_ = builder.BuildAndStart();
    options_.address = absl::StrCat("127.0.0.1:", port);
    options_.pause = std::chrono::milliseconds(1);
  }

  absl::StatusOr<ServerVerdict> Ask(std::vector<Answer> answers) {
    daemon_.Script(version_, std::move(answers));
    return AwaitVerdict(options_, version_dir_, clock_);
  }
  // As a server notes what it has rolled back.
  void Note(const std::string& why) {
    std::filesystem::create_directory(dir_.path() + "/.rolled-back");
    std::ofstream(dir_.path() + "/.rolled-back/" + version_) << why;
  }

  test::TempDir dir_;
  const std::string version_dir_ = dir_.path() + "/v000001-0";
  std::string version_;
  Daemon daemon_;
  std::unique_ptr<grpc::Server> server_;
  ServingDaemon options_;
  MinuteClock clock_;
};

TEST_F(ServerVerdictTest, ItIsLiveWhenTheDaemonSaysSoHoweverLateItHearsOfIt) {
  const auto verdict = Ask({{},
                            {v1::VERSION_STATE_LOADING},
                            {.status = {grpc::StatusCode::UNAVAILABLE, "restarts"}},
                            {v1::VERSION_STATE_CANARY},
                            {v1::VERSION_STATE_LIVE}});
  ASSERT_TRUE(verdict.ok()) << verdict.status();
  EXPECT_TRUE(verdict->is_live);
  EXPECT_EQ(daemon_.asked(), 5u);
}

TEST_F(ServerVerdictTest, WhatWasLiveUntilANewerOneCameWasLive) {
  EXPECT_TRUE(Ask({{v1::VERSION_STATE_KEPT}})->is_live);
  EXPECT_TRUE(Ask({{.state = v1::VERSION_STATE_FREED, .was_live = true}})->is_live);
  // A canary in whose place another one came was not.
  EXPECT_EQ(Ask({{v1::VERSION_STATE_FREED}}).status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(ServerVerdictTest, WhatIsNotedAsRolledBackIsAtOnce) {
  Note("less sure of\nits words");
  const auto verdict = Ask({{v1::VERSION_STATE_DRAINING},
                            {v1::VERSION_STATE_REJECTED, "rolled back: less sure of its words"}});
  ASSERT_TRUE(verdict.ok()) << verdict.status();
  EXPECT_FALSE(verdict->is_live);
  EXPECT_EQ(verdict->reason, "less sure of its words");
  EXPECT_EQ(daemon_.asked(), 2u);
  EXPECT_FALSE(AwaitVerdict(options_, version_dir_ + "/", clock_)->is_live);  // the same folder
  Note("");
  EXPECT_EQ(Ask({{v1::VERSION_STATE_REJECTED, "rolled back: operator"}})->reason, "operator");
}

TEST_F(ServerVerdictTest, ACanaryThatWasTooSlowMayComeAgain) {
  const Answer slow = {v1::VERSION_STATE_REJECTED, "rolled back: inter-token time"};
  EXPECT_TRUE(Ask({slow, slow, {v1::VERSION_STATE_CANARY}, {v1::VERSION_STATE_LIVE}})->is_live);
  const auto never = Ask({slow});
  ASSERT_TRUE(never.ok()) << never.status();
  EXPECT_EQ(never->reason, "inter-token time");
  EXPECT_GT(daemon_.asked(), 9u);
}

TEST_F(ServerVerdictTest, WhatTheDaemonCannotLoadIsNoFaultOfTheData) {
  const auto verdict = Ask({{v1::VERSION_STATE_REJECTED, "RESOURCE_EXHAUSTED: loading: memory"}});
  EXPECT_EQ(verdict.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(verdict.status().message(),
              HasSubstr("does not take the version: RESOURCE_EXHAUSTED: loading: memory"));
  EXPECT_EQ(daemon_.asked(), 1u);
}

TEST_F(ServerVerdictTest, TheEndOfTheWaitSaysHowFarItHasCome) {
  const std::string name = version_.substr(0, 12);
  EXPECT_EQ(Ask({{v1::VERSION_STATE_CANARY}}).status(),
            absl::DeadlineExceededError(absl::StrCat("no verdict within 2h: version ", name,
                                                     " is canary at ", options_.address)));
  EXPECT_THAT(Ask({{}}).status().message(), HasSubstr("does not know version " + name));
  server_->Shutdown();
  const auto down = Ask({{}});
  EXPECT_EQ(down.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(down.status().message(), HasSubstr(options_.address));
  EXPECT_EQ(daemon_.asked(), 0u);
}

TEST_F(ServerVerdictTest, TheTokenIsThatOfTheFileAndARefusalIsTheEnd) {
  options_.token_file = dir_.path() + "/token";
  EXPECT_EQ(Ask({{}}).status().code(), absl::StatusCode::kNotFound);
  std::ofstream(options_.token_file) << "open sesame\n";
  EXPECT_EQ(Ask({{}}).status().code(), absl::StatusCode::kInvalidArgument);
  std::ofstream(options_.token_file) << "sesame\n";
  const auto refused = Ask({{.status = {grpc::StatusCode::PERMISSION_DENIED, "wants admin"}}});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(refused.status().message(), HasSubstr("wants admin"));
  EXPECT_EQ(daemon_.token(), "Bearer sesame");
  EXPECT_EQ(daemon_.asked(), 1u);
}

TEST_F(ServerVerdictTest, WithAnAuthorityNobodyElseIsBelieved) {
  options_.ca = dir_.path() + "/ca.pem";
  EXPECT_EQ(Ask({{}}).status().code(), absl::StatusCode::kNotFound);
  std::ofstream(options_.ca) << "no certificate\n";
  EXPECT_EQ(Ask({{v1::VERSION_STATE_LIVE}}).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(daemon_.asked(), 0u);
}

TEST_F(ServerVerdictTest, AFolderThatIsNoVersionIsSaidAtOnce) {
  EXPECT_EQ(AwaitVerdict(options_, dir_.path(), clock_).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace llava::training
