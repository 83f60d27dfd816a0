#include "rpc/grpc_log.h"

#include <gmock/gmock.h>
#include <grpc/support/log.h>
#include <gtest/gtest.h>

#include <vector>

namespace llava::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(GrpcLogTest, TheNewestSinkGetsTheLines) {
  std::vector<std::string> outer;
  std::vector<std::string> inner;
  const auto into = [](std::vector<std::string>* lines) {
    return [lines](bool is_error, const std::string& place, const std::string& message) {
      lines->push_back((is_error ? "error " : "") + place + " " + message);
    };
  };
  const GrpcLogRedirection first(into(&outer));
  gpr_log(GPR_ERROR, "one %s", "line\n\x1b");
  {
    const GrpcLogRedirection second(into(&inner));
    gpr_log(GPR_ERROR, "two");
  }
  gpr_log(GPR_ERROR, "three");
  EXPECT_THAT(outer, ElementsAre(HasSubstr("one line\n\x1b"), HasSubstr("three")));
  EXPECT_THAT(outer.front(), HasSubstr("grpc_log_test.cc:"));
  EXPECT_THAT(inner, ElementsAre(HasSubstr("error ")));
}

}  // namespace
}  // namespace llava::rpc
