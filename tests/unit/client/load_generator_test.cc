#include "client/load_generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/unit/client/fake_server.h"

namespace llava::client {
namespace {

class LoadGeneratorTest : public ::testing::Test {
 protected:
  LoadGeneratorTest() : server_(&chat_) {
    connection_.server = server_.address();
    connection_.token = "secret";
    stub_ = *connection_.Stub();
  }

  std::vector<Sample> Run(const LoadOptions& options) {
    return LoadGenerator(&connection_, stub_.get(), &clock_).Run(options);
  }

  FakeChat chat_;
  FakeServer server_;
  Connection connection_;
  std::unique_ptr<v1::ChatService::Stub> stub_;
  RealClock clock_;
};

TEST_F(LoadGeneratorTest, MeasuresEachRequest) {
  const auto samples = Run({.requests = 5, .concurrency = 2, .image_side = 16, .max_tokens = 9});
  ASSERT_EQ(samples.size(), 5u);
  for (const Sample& sample : samples) {
    EXPECT_EQ(sample.error, "");
    ASSERT_EQ(sample.arrivals.size(), 2u);
    EXPECT_LE(sample.start, sample.arrivals[0].time);
    EXPECT_LE(sample.arrivals[1].time, sample.end);
    EXPECT_EQ(sample.prompt_tokens, 7);
    EXPECT_EQ(sample.cached_tokens, 3);
  }
  const auto requests = chat_.requests();
  ASSERT_EQ(requests.size(), 5u);
  EXPECT_EQ(requests[0].sampling().max_tokens(), 9);
  EXPECT_TRUE(requests[0].sampling().ignore_eos());
  EXPECT_EQ(chat_.metadata("authorization"), "Bearer secret");
}

TEST_F(LoadGeneratorTest, TheSeedSaysWhatIsAsked) {
  const auto said = [&](LoadOptions options) {
    options.requests = 6;
    options.concurrency = 1;
    options.image_side = 16;
    const std::size_t before = chat_.requests().size();
    Run(options);
    std::vector<std::string> all;
    const auto requests = chat_.requests();
    for (std::size_t i = before; i < requests.size(); ++i) {
      all.push_back(requests[i].SerializeAsString());
    }
    return all;
  };
  EXPECT_EQ(said({.seed = 3}), said({.seed = 3}));
  EXPECT_NE(said({.seed = 3}), said({.seed = 4}));
  const std::size_t before = chat_.requests().size();
  said({.images = 2, .distinct_images = 2});
  std::set<std::string> pictures;
  const auto requests = chat_.requests();
  for (std::size_t i = before; i < requests.size(); ++i) {
    for (const auto& part : requests[i].messages(0).parts()) pictures.insert(part.image());
  }
  pictures.erase("");  // the text's
  EXPECT_LE(pictures.size(), 2u);
}

TEST_F(LoadGeneratorTest, AnOpenLoopSendsWhenItIsDue) {
  const auto samples = Run({.requests = 4, .rate = 1000, .images = 0});
  for (std::size_t i = 0; i < samples.size(); ++i) {
    EXPECT_GE(samples[i].start, samples[i].due);
    if (i > 0) {
      EXPECT_GT(samples[i].due, samples[i - 1].due);
    }
  }
}

TEST_F(LoadGeneratorTest, AnErrorIsPartOfTheResult) {
  chat_.FailWith({grpc::RESOURCE_EXHAUSTED, "full"});
  for (const Sample& sample : Run({.requests = 2, .images = 0})) {
    EXPECT_EQ(sample.error, "RESOURCE_EXHAUSTED");
    EXPECT_TRUE(sample.arrivals.empty());
  }
}

}  // namespace
}  // namespace llava::client
