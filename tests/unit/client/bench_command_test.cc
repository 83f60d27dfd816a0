#include "client/bench_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "client/exit_code.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/client/fake_server.h"

namespace llava::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class BenchCommandTest : public ::testing::Test {
 protected:
  BenchCommandTest() : server_(&chat_), output_(folder_.path() + "/result.json") {}

  int Run(std::vector<std::string> arguments) {
    CLI::App app;
    int exit_code = -1;
    AddBenchCommand(&app, &exit_code);
    arguments.insert(arguments.begin(), {"bench", "--server", server_.address()});
    if (std::ranges::find(arguments, "--image-side") == arguments.end()) {
      arguments.insert(arguments.end(), {"--image-side", "16"});
    }
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    app.parse(arguments);
    out_ = ::testing::internal::GetCapturedStdout();
    err_ = ::testing::internal::GetCapturedStderr();
    return exit_code;
  }

  boost::json::object Result() const {
    std::ifstream file(output_);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    return boost::json::parse(text).as_object();
  }

  FakeChat chat_;
  FakeServer server_;
  const test::TempDir folder_;
  const std::string output_;
  std::string out_, err_;
};

TEST_F(BenchCommandTest, MeasuresWhatItWasToldToAndWarmsUpFirst) {
  EXPECT_EQ(Run({"--requests", "3", "--warmup", "2", "--max-tokens", "9", "--temperature", "0.5",
                 "--top-p", "0.25", "--images", "2", "--seed", "11", "--output", output_}),
            kOk);
  const std::vector<v1::ChatRequest> requests = chat_.requests();
  ASSERT_EQ(requests.size(), 5u);
  for (const v1::ChatRequest& request : requests) {
    EXPECT_EQ(request.sampling().max_tokens(), 9);
    EXPECT_FLOAT_EQ(static_cast<float>(request.sampling().temperature()), 0.5f);
    EXPECT_FLOAT_EQ(static_cast<float>(request.sampling().top_p()), 0.25f);
    const auto& parts = request.messages(0).parts();
    EXPECT_EQ(std::ranges::count_if(parts, [](const auto& part) { return part.has_image(); }), 2);
  }
  const boost::json::object result = Result();
  EXPECT_EQ(result.at("requests").to_number<int>(), 3);  // without those before it
  EXPECT_EQ(result.at("output_tokens").to_number<int>(), 6);
  EXPECT_EQ(result.at("prompt_tokens").to_number<int>(), 21);
  EXPECT_EQ(result.at("mode").as_string(), "closed");
  EXPECT_EQ(result.at("seed").to_number<int>(), 11);
  EXPECT_THAT(out_, HasSubstr("seed 11\n"));
  for (const char* row : {"requests/s ", "output tokens/s ", "\ntime_to_first_token ",
                          "\ninter_token ", "\nrequest "}) {
    EXPECT_THAT(out_, HasSubstr(row));
  }
  EXPECT_THAT(out_, Not(HasSubstr("error")));
}

// What a warm-up asked is in the server's caches and must not be asked again.
TEST_F(BenchCommandTest, TheWarmUpAsksSomethingElse) {
  EXPECT_EQ(Run({"--requests", "2", "--warmup", "2", "--concurrency", "1"}), kOk);
  const auto requests = chat_.requests();
  ASSERT_EQ(requests.size(), 4u);
  for (std::size_t warm : {0u, 1u}) {
    for (std::size_t measured : {2u, 3u}) {
      EXPECT_NE(requests[warm].SerializeAsString(), requests[measured].SerializeAsString());
    }
  }
}

TEST_F(BenchCommandTest, ARateIsAnOpenLoop) {
  EXPECT_EQ(Run({"--requests", "2", "--warmup", "0", "--rate", "1000", "--output", output_}), kOk);
  EXPECT_EQ(chat_.requests().size(), 2u);
  EXPECT_EQ(Result().at("mode").as_string(), "open");
}

TEST_F(BenchCommandTest, RequestsWithoutAnswersAreCountedByTheirErrors) {
  chat_.FailWith({grpc::RESOURCE_EXHAUSTED, "full"});
  EXPECT_EQ(Run({"--requests", "3", "--output", output_}), kServerError);
  EXPECT_THAT(out_, ::testing::ContainsRegex("error RESOURCE_EXHAUSTED +3\n"));
  EXPECT_EQ(Result().at("errors").at("RESOURCE_EXHAUSTED").to_number<int>(), 3);
  chat_.FailWith({grpc::UNAVAILABLE, "away"});
  EXPECT_EQ(Run({"--requests", "1", "--warmup", "0"}), kNetworkError);
}

TEST_F(BenchCommandTest, FilesThatAreWrongAreNamed) {
  EXPECT_EQ(Run({"--requests", "1", "--output", folder_.path() + "/none/result.json"}),
            kRequestError);
  EXPECT_THAT(err_, HasSubstr("/none/result.json"));
  const std::size_t asked = chat_.requests().size();
  EXPECT_EQ(Run({"--ca", "/nowhere.pem"}), kRequestError);
  EXPECT_THAT(err_, HasSubstr("/nowhere.pem"));
  EXPECT_EQ(chat_.requests().size(), asked);
}

TEST_F(BenchCommandTest, NumbersThatMakeNoLoadAreRefused) {
  const std::vector<std::vector<std::string>> wrong = {{"--requests", "0"},
                                                       {"--concurrency", "-1"},
                                                       {"--rate", "-1"},
                                                       {"--image-side", "0"},
                                                       {"--max-tokens", "0"}};
  for (const std::vector<std::string>& arguments : wrong) {
    EXPECT_THROW(Run(arguments), CLI::ValidationError) << arguments[0];
    ::testing::internal::GetCapturedStdout();
    ::testing::internal::GetCapturedStderr();
  }
  EXPECT_THAT(chat_.requests(), ElementsAre());
}

}  // namespace
}  // namespace llava::client
