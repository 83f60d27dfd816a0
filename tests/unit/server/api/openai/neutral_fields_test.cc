#include "server/api/openai/neutral_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

#include "base/field_error.h"

namespace llava::api {
namespace {

absl::Status Check(const char* name, const char* value) {
  return CheckNeutralField(name, boost::json::parse(value), name);
}

TEST(NeutralFieldsTest, WhatAsksForNothingPasses) {
  const std::pair<const char*, const char*> passes[] = {
      {"functions", "[]"},
      {"function_call", "\"auto\""},
      {"modalities", R"(["text"])"},
      {"reasoning_effort", "\"none\""},
      {"moderation", "null"},
      {"audio", "null"},
      {"prompt_cache_retention", "\"24h\""},
      {"prompt_cache_options", R"({"ttl": "30m"})"},
      {"metadata", R"({"any": ["thing"]})"},
      {"best_of", "1"},
      {"length_penalty", "1.0"},
      {"skip_special_tokens", "true"},
      {"chat_template_kwargs", "{}"},
      {"include_obfuscation", "false"},
  };
  for (const auto& [name, value] : passes) {
    ASSERT_TRUE(IsNeutralField(name)) << name;
    EXPECT_TRUE(Check(name, value).ok()) << name << ": " << Check(name, value);
    EXPECT_TRUE(Check(name, "null").ok()) << name;
  }
}

TEST(NeutralFieldsTest, WhatWouldChangeTheAnswerIsRefusedByName) {
  const std::pair<const char*, const char*> refused[] = {
      {"functions", "[{}]"},
      {"function_call", R"({"name": "f"})"},
      {"modalities", R"(["audio"])"},
      {"reasoning_effort", "\"high\""},
      {"verbosity", "\"low\""},
      {"best_of", "2"},
      {"skip_special_tokens", "false"},
      {"chat_template_kwargs", R"({"x": 1})"},
      {"guided_json", "{}"},
  };
  for (const auto& [name, value] : refused) {
    const absl::Status status = Check(name, value);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(FieldOf(status), name);
  }
  EXPECT_EQ(Check("best_of", "2").message(),
            "best_of: is 2, which is not supported, expected null or 1");
}

TEST(NeutralFieldsTest, OtherNamesAreNotKnown) {
  EXPECT_FALSE(IsNeutralField("temperature"));
  EXPECT_FALSE(IsNeutralField("cache_salt"));
  EXPECT_FALSE(IsNeutralField("no_such"));
}

}  // namespace
}  // namespace llava::api
