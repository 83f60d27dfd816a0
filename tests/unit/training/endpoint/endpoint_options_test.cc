#include "training/endpoint/endpoint_options.h"

#include <cstdlib>

#include "base/durable_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

absl::Status Read(const std::string& text, EndpointOptions* options) {
  auto yaml = StrictYaml::Parse(text, "plan.yaml");
  yaml->Section("endpoint", [&](StrictYaml& endpoint) { ReadEndpoint(endpoint, options); });
  yaml->Section("budget", [&](StrictYaml& budget) { ReadBudget(budget, options); });
  return yaml->Finish();
}

TEST(EndpointOptions, AreReadStrictly) {
  EndpointOptions options;
  const absl::Status status = Read(
      "endpoint: {base_url: 'http://h/v1', model: m, max_in_flight: 3, price: "
      "{input_per_million: 2.5, output_per_million: 10}}\nbudget: {max_usd: 20, "
      "max_tokens_total: 1000}\n",
      &options);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(options.max_in_flight, 3);
  EXPECT_EQ(options.input_price, 2.5);
  EXPECT_EQ(options.max_cost, 20);
  EXPECT_EQ(options.max_tokens_total, 1000);
  EndpointOptions nothing;
  const std::string priced = "endpoint: {base_url: h, model: m, price: {output_per_million: 1}}\n";
  ASSERT_TRUE(Read(priced + "budget: {max_usd: 0, max_tokens_total: 0}\n", &nothing).ok());
  EXPECT_EQ(nothing.max_cost, 0);
  EXPECT_EQ(nothing.max_tokens_total, 0);
  EndpointOptions unbounded;
  ASSERT_TRUE(Read(priced + "budget: {}\n", &unbounded).ok());
  EXPECT_FALSE(unbounded.max_cost.has_value() || unbounded.max_tokens_total.has_value());
  EXPECT_TRUE(IsPaid(unbounded));
  EXPECT_FALSE(IsPaid({}));
  for (const char* wrong :
       {"endpoint: {base_url: h}", "endpoint: {base_url: h, model: m, api_key: sk-1}",
        "endpoint: {base_url: h, model: m, max_attempts: 0}",
        "endpoint: {base_url: h, model: m, idle_seconds: 0}",
        "endpoint: {base_url: h, model: m}\nbudget: {max_usd: 1}",
        "endpoint: {base_url: h, model: m}\nbudget: {max_usd: 0}",
        "endpoint: {base_url: h, model: m}\nbudget: {max_tokens_total: -1}"}) {
    EndpointOptions other;
    EXPECT_TRUE(absl::IsInvalidArgument(Read(wrong, &other))) << wrong;
  }
}

TEST(EndpointOptions, MayStandInAFileOfTheirOwn) {
  const test::TempDir dir;
  const std::string file = dir.path() + "/service.yaml";
  ASSERT_TRUE(WriteFile(file,
                        "endpoint: {base_url: 'http://h/v1', model: m}\n"
                        "budget: {max_tokens_total: 7}\n")
                  .ok());
  EXPECT_EQ(LoadEndpoint(file)->max_tokens_total, 7);
  ASSERT_TRUE(WriteFile(file, "budget: {max_tokens_total: 7}\n").ok());
  EXPECT_TRUE(absl::IsInvalidArgument(LoadEndpoint(file).status()));
  EXPECT_TRUE(absl::IsNotFound(LoadEndpoint(dir.path() + "/none.yaml").status()));
}

TEST(EndpointOptions, KeysComeFromTheEnvironmentOrAFile) {
  EndpointOptions options;
  EXPECT_EQ(*LoadApiKey(options), "");
  options.api_key_env = "LLAVA_TEST_KEY_THAT_IS_NOT_SET";
  EXPECT_TRUE(absl::IsNotFound(LoadApiKey(options).status()));
  setenv("LLAVA_TEST_KEY", "sk-secret", 1);
  options.api_key_env = "LLAVA_TEST_KEY";
  EXPECT_EQ(*LoadApiKey(options), "sk-secret");
  setenv("LLAVA_TEST_KEY", "sk-secret\r\nHost: evil", 1);
  const absl::Status status = LoadApiKey(options).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), testing::Not(testing::HasSubstr("secret")));
  const test::TempDir dir;
  ASSERT_TRUE(WriteFile(dir.path() + "/key", "sk-file\n").ok());
  EndpointOptions file;
  file.api_key_file = dir.path() + "/key";
  EXPECT_EQ(*LoadApiKey(file), "sk-file");
}

}  // namespace
}  // namespace llava::training
