#include "server/app/app_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <string>

namespace llava::server {
namespace {

TEST(ModelNameTest, OfTheOptionOrOfAFolder) {
  Config config;
  EXPECT_EQ(ModelName(config), "llava");
  config.watch = "/models/published";
  EXPECT_EQ(ModelName(config), "published");
  config.watch = "/models/published@home/";
  EXPECT_EQ(ModelName(config), "published-home");
  config.checkpoint = "/models/llava-7b/";
  EXPECT_EQ(ModelName(config), "llava-7b");
  config.model_name = "mine";
  EXPECT_EQ(ModelName(config), "mine");
}

TEST(CheckModelNamesTest, AnAliasIsANameThatNothingElseHas) {
  Config config;
  config.checkpoint = "/models/llava-7b";
  config.model_aliases = {"gpt-4o", "org/eyes"};
  EXPECT_TRUE(CheckModelNames(config).ok());
  const auto said = [&](std::vector<std::string> aliases) {
    config.model_aliases = std::move(aliases);
    return std::string(CheckModelNames(config).message());
  };
  EXPECT_EQ(said({"eyes", "llava-7b"}),
            "model_aliases: 'llava-7b' is the model's own name already");
  EXPECT_EQ(said({"eyes", "gpt-4o", "eyes"}), "model_aliases: 'eyes' stands there twice");
  for (const char* odd : {"", "eyes@2", "two eyes", "eyes\n"}) {
    EXPECT_THAT(said({odd}), ::testing::HasSubstr("expected a name without spaces and @"));
  }
}

TEST(CheckAddressesTest, EachIsOneAndItsOptionIsNamed) {
  EXPECT_TRUE(CheckAddresses(Config()).ok());
  const auto said = [](std::string Config::* option, const char* address) {
    Config config;
    config.*option = address;
    return std::string(CheckAddresses(config).message());
  };
  EXPECT_EQ(said(&Config::listen, "50051"),
            "listen: 50051: expected HOST:PORT with a port in [0, 65535]");
  EXPECT_EQ(said(&Config::http, "http://0.0.0.0:80"),
            "http: http://0.0.0.0:80: expected a name, an address or [IPv6] as the host");
  EXPECT_EQ(said(&Config::metrics, "host:x"),
            "metrics: host:x: expected HOST:PORT with a port in [0, 65535]");
  EXPECT_EQ(said(&Config::otlp_endpoint, "x"),
            "otlp_endpoint: x: expected HOST:PORT with a port in [0, 65535]");
  EXPECT_EQ(said(&Config::otlp_endpoint, ":4317"),
            "otlp_endpoint: :4317: expected HOST:PORT of a server, with a port in [1, 65535]");
  EXPECT_EQ(said(&Config::otlp_endpoint, "collector:4317"), "");
}

TEST(CheckAddressesTest, NoTwoAreOne) {
  const auto said = [](const char* listen, const char* http, const char* metrics) {
    Config config;
    config.listen = listen;
    config.http = http;
    config.metrics = metrics;
    return std::string(CheckAddresses(config).message());
  };
  EXPECT_EQ(said(":1", "127.0.0.1:80", "127.0.0.1:80"),
            "metrics: is 127.0.0.1:80, where http is already, expected another port");
  EXPECT_EQ(said("127.0.0.1:80", ":80", ""),
            "http: is :80, where listen is already, expected another port");
  EXPECT_EQ(said("[::1]:80", "127.0.0.1:80", "127.0.0.2:80"), "");
  EXPECT_EQ(said("host:80", "other:80", ":81"), "");
  EXPECT_EQ(said("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"), "");  // ports that are picked
}

TEST(ConnectionsWithinTest, OurOwnFilesAndAQuarterOfTheOthersAreLeft) {
  EXPECT_EQ(ConnectionsWithin(16384, 1 << 20), 16384);
  EXPECT_EQ(ConnectionsWithin(16384, 1024), 720);
  EXPECT_EQ(ConnectionsWithin(720, 1024), 720);
  EXPECT_EQ(ConnectionsWithin(719, 1024), 719);
  EXPECT_EQ(ConnectionsWithin(16384, kOwnFiles), 1);
  EXPECT_EQ(ConnectionsWithin(16384, 1), 1);
  EXPECT_EQ(ConnectionsWithin(16384, 0), 1);
}

TEST(ToHttpOptionsTest, HasNoMoreConnectionsThanFiles) {
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 200;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  EXPECT_EQ(ToHttpOptions(Config(), "127.0.0.1:0", {}).max_connections, 102);
  setrlimit(RLIMIT_NOFILE, &before);
}

TEST(ToAdmissionOptionsTest, EachBoundIsThatOfItsOption) {
  Config config;
  config.queue_requests = 1;
  config.queue_tokens = 2;
  config.queue_bytes = 3;
  config.queue_pixels = 4;
  config.tenant_requests = 5;
  config.tenant_tokens = 6;
  config.tenant_bytes = 7;
  config.tenant_pixels = 8;
  const scheduling::AdmissionOptions options = ToAdmissionOptions(config);
  EXPECT_EQ(options.total,
            (scheduling::AdmissionBounds{.requests = 1, .tokens = 2, .bytes = 3, .pixels = 4}));
  EXPECT_EQ(options.per_tenant,
            (scheduling::AdmissionBounds{.requests = 5, .tokens = 6, .bytes = 7, .pixels = 8}));
}

TEST(ToRunnerOptionsTest, AnswersAreBoundedByTheSeatsToo) {
  Config config;
  config.max_n = 8;
  config.max_running = 3;
  EXPECT_EQ(ToRunnerOptions(config).limits.max_n, 3);
  config.max_running = 64;
  EXPECT_EQ(ToRunnerOptions(config).limits.max_n, 8);
  EXPECT_FALSE(ToRunnerOptions(config).canary_by_tenant);
  config.canary_by = "tenant";
  EXPECT_TRUE(ToRunnerOptions(config).canary_by_tenant);
}

TEST(ToRunnerOptionsTest, CachesAreApartByTenantUnlessAllShareThem) {
  Config config;
  EXPECT_TRUE(ToRunnerOptions(config).caches_by_tenant);
  config.cache_isolation = "none";
  EXPECT_FALSE(ToRunnerOptions(config).caches_by_tenant);
}

TEST(ToRegistryOptionsTest, PercentagesBecomeShares) {
  Config config;
  config.canary_percent = 25;
  config.canary_slower_percent = 50;
  config.canary_less_sure_percent = 40;
  config.canary_evaluation_percent = 10;
  const registry::RegistryOptions options = ToRegistryOptions(config);
  EXPECT_DOUBLE_EQ(options.canary.traffic, 0.25);
  EXPECT_DOUBLE_EQ(options.canary.slower, 1.5);
  EXPECT_DOUBLE_EQ(options.canary.less_sure, 0.6);
  EXPECT_DOUBLE_EQ(options.worse_evaluation, 0.1);
  EXPECT_TRUE(options.keep_previous);
  EXPECT_FALSE(options.swap);
}

TEST(ToRegistryOptionsTest, ASwapHasNeitherCanaryNorKeptVersion) {
  Config config;
  config.reload = "swap";
  const registry::RegistryOptions options = ToRegistryOptions(config);
  EXPECT_TRUE(options.swap);
  EXPECT_EQ(options.canary.traffic, 0);
  EXPECT_FALSE(options.keep_previous);
}

TEST(ReadAuthTest, AMistakeNamesTheOption) {
  Config config;
  EXPECT_TRUE(ReadAuth(config).ok());
  config.tokens_file = "/nonexistent/tokens";
  EXPECT_THAT(std::string(ReadAuth(config).status().message()),
              ::testing::HasSubstr("tokens_file"));
}

}  // namespace
}  // namespace llava::server
