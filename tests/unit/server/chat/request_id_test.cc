#include "server/chat/request_id.h"

#include <gtest/gtest.h>

#include <string>

namespace llava::api {
namespace {

TEST(RequestIdTest, KeepsWhatIsHarmlessAndMakesTheRest) {
  EXPECT_EQ(RequestIdOr("client-7_a.b:c"), "client-7_a.b:c");
  EXPECT_EQ(RequestIdOr("").size(), 24u);
  EXPECT_NE(RequestIdOr(""), RequestIdOr(""));
  EXPECT_EQ(RequestIdOr("a\nb").size(), 24u);
  EXPECT_EQ(RequestIdOr(std::string(128, 'a')), std::string(128, 'a'));
  EXPECT_EQ(RequestIdOr(std::string(129, 'a')).size(), 24u);
}

}  // namespace
}  // namespace llava::api
