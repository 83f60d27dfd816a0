#include "rpc/grpc_log.h"

#include <gmock/gmock.h>
#include <google/protobuf/stubs/logging.h>
#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <gtest/gtest.h>

#include <vector>

namespace llava::rpc {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GrpcLogTest : public ::testing::Test {
 protected:
  GrpcLogTest() { grpc_init(); }  // before it gRPC logs nothing
  ~GrpcLogTest() override { grpc_shutdown(); }
};

TEST_F(GrpcLogTest, TheNewestSinkGetsTheLines) {
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

TEST_F(GrpcLogTest, ProtobufLogsThereToo) {
  std::vector<std::string> lines;
  const GrpcLogRedirection redirection(
      [&lines](bool is_error, const std::string& place, const std::string& message) {
        lines.push_back((is_error ? "error " : "") + place + " " + message);
      });
  GOOGLE_LOG(ERROR) << "a field";
  EXPECT_THAT(lines, ElementsAre(AllOf(HasSubstr("error "), HasSubstr("grpc_log_test.cc:"),
                                       HasSubstr(" a field"))));
}

}  // namespace
}  // namespace llava::rpc
