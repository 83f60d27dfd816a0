#include "client/models_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

#include "client/exit_code.h"
#include "llava/v1/models.grpc.pb.h"
#include "tests/unit/client/fake_server.h"

namespace llava::client {
namespace {

using ::testing::HasSubstr;

// One live version; remembers what it was told to do.
class FakeModels final : public v1::ModelService::Service {
 public:
  static v1::ModelVersion Live() {
    v1::ModelVersion version;
    version.set_version("0123456789abcdef0123");
    version.set_path("/models/7");
    version.set_state(v1::VERSION_STATE_LIVE);
    version.set_traffic(0.9);
    version.set_answers(12);
    version.mutable_state_time()->set_seconds(86400);
    (*version.mutable_evaluation())["total"] = 0.975;
    return version;
  }
  static v1::ModelEvent Event() {
    v1::ModelEvent event;
    event.set_version("fedcba9876543210");
    event.set_state(v1::VERSION_STATE_REJECTED);
    event.set_reason("torn");
    return event;
  }
  grpc::Status List(grpc::ServerContext*, const v1::ListRequest*,
                    v1::ListResponse* response) override {
    *response->add_versions() = Live();
    *response->add_events() = Event();
    return error;
  }
  grpc::Status Load(grpc::ServerContext*, const v1::LoadRequest* request,
                    v1::LoadResponse* response) override {
    said = "load " + request->path();
    *response->mutable_version() = Live();
    return error;
  }
  grpc::Status Reload(grpc::ServerContext*, const v1::ReloadRequest*,
                      v1::ReloadResponse* response) override {
    said = "reload";
    *response->mutable_version() = Live();
    return error;
  }
  grpc::Status SetTraffic(grpc::ServerContext*, const v1::SetTrafficRequest* request,
                          v1::SetTrafficResponse*) override {
    said = "traffic " + std::to_string(request->share());
    return error;
  }
  grpc::Status Promote(grpc::ServerContext*, const v1::PromoteRequest*,
                       v1::PromoteResponse*) override {
    said = "promote";
    return error;
  }
  grpc::Status Rollback(grpc::ServerContext*, const v1::RollbackRequest* request,
                        v1::RollbackResponse*) override {
    said = "rollback " + request->reason();
    return error;
  }
  grpc::Status Unload(grpc::ServerContext*, const v1::UnloadRequest* request,
                      v1::UnloadResponse*) override {
    said = "unload " + request->version();
    return error;
  }
  grpc::Status Watch(grpc::ServerContext*, const v1::WatchRequest*,
                     grpc::ServerWriter<v1::WatchResponse>* writer) override {
    v1::WatchResponse response;
    *response.add_versions() = Live();
    writer->Write(response);
    *response.add_events() = Event();
    writer->Write(response);
    return error;
  }

  // Set and read between calls.
  std::string said;
  grpc::Status error;
};

class ModelsCommandTest : public ::testing::Test {
 protected:
  ModelsCommandTest() : server_(&models_) {}

  int Run(const std::string& command, std::vector<std::string> arguments = {}) {
    CLI::App app;
    int exit_code = -1;
    AddModelsCommand(&app, &exit_code);
    arguments.insert(arguments.begin(), {"models", command, "--server", server_.address()});
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    app.parse(arguments);
    out_ = ::testing::internal::GetCapturedStdout();
    err_ = ::testing::internal::GetCapturedStderr();
    return exit_code;
  }

  FakeModels models_;
  FakeServer server_;
  std::string out_, err_;
};

TEST_F(ModelsCommandTest, ListsVersionsAndEvents) {
  EXPECT_EQ(Run("list"), kOk);
  EXPECT_THAT(out_, HasSubstr("0123456789ab  live "));
  EXPECT_THAT(out_, HasSubstr("90%"));
  EXPECT_THAT(out_, HasSubstr("1970-01-02T00:00:00Z"));
  EXPECT_THAT(out_, HasSubstr("/models/7  evaluation 97.5%"));
  EXPECT_THAT(out_, ::testing::Not(HasSubstr("torn")));
  EXPECT_EQ(Run("list", {"--events"}), kOk);
  EXPECT_THAT(out_, HasSubstr("fedcba987654  rejected  torn"));
}

TEST_F(ModelsCommandTest, SaysWhatItWasTold) {
  EXPECT_EQ(Run("load", {"/models/8"}), kOk);
  EXPECT_EQ(models_.said, "load /models/8");
  EXPECT_THAT(out_, HasSubstr("/models/7"));
  EXPECT_EQ(Run("reload"), kOk);
  EXPECT_EQ(models_.said, "reload");
  EXPECT_EQ(Run("traffic", {"25"}), kOk);
  EXPECT_EQ(models_.said, "traffic 0.250000");
  EXPECT_EQ(Run("promote"), kOk);
  EXPECT_EQ(models_.said, "promote");
  EXPECT_EQ(Run("rollback", {"worse"}), kOk);
  EXPECT_EQ(models_.said, "rollback worse");
  EXPECT_EQ(Run("unload", {"01234567"}), kOk);
  EXPECT_EQ(models_.said, "unload 01234567");
}

TEST_F(ModelsCommandTest, WatchesVersionsOnceAndEventsAsTheyCome) {
  EXPECT_EQ(Run("watch"), kOk);
  EXPECT_EQ(out_.find("/models/7"), out_.rfind("/models/7"));
  EXPECT_THAT(out_, HasSubstr("rejected  torn"));
}

TEST_F(ModelsCommandTest, AnErrorIsNamedAndIsTheExitCode) {
  models_.error = {grpc::PERMISSION_DENIED, "lacks the role admin"};
  for (const char* command : {"list", "reload", "promote", "watch"}) {
    EXPECT_EQ(Run(command), kRequestError) << command;
    EXPECT_THAT(err_, HasSubstr("lacks the role admin")) << command;
  }
  models_.error = {grpc::DATA_LOSS, "torn"};
  EXPECT_EQ(Run("load", {"x"}), kServerError);
}

}  // namespace
}  // namespace llava::client
