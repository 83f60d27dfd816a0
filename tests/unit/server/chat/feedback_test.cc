#include "server/chat/feedback.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/field_error.h"

namespace llava::api {
namespace {

using ::testing::HasSubstr;

TEST(FeedbackTest, AnAnswerIsNamedAsTheClientGotIt) {
  EXPECT_EQ(*AnswerOf("chatcmpl-abc"), "abc");
  EXPECT_EQ(*AnswerOf("abc"), "abc");
  for (const std::string id : {"", "chatcmpl-", "a b", "../x"}) {
    EXPECT_EQ(FieldOf(AnswerOf(id).status()), "id");
    EXPECT_THAT(AnswerOf(id).status().message(), HasSubstr("'" + id + "'"));
  }
}

TEST(FeedbackTest, WithoutATenantItIsTheDefaultOne) {
  EXPECT_EQ(NamedTenant(""), "default");
  EXPECT_EQ(NamedTenant("ann"), "ann");
  EXPECT_THAT(NothingIsCaptured().message(), HasSubstr("capture_dir"));
}

}  // namespace
}  // namespace llava::api
