#include "server/scheduling/limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace llava::scheduling {
namespace {

using ::testing::HasSubstr;

TEST(LimitsTest, NamesTheWrongField) {
  SchedulerOptions options;
  options.num_blocks = 10;
  EXPECT_TRUE(Validate(options).ok());
  options.max_running = options.max_batch_tokens + 1;
  EXPECT_EQ(Validate(options).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Validate(options).message()), HasSubstr("max_running is 513"));
  AdmissionOptions admission;
  EXPECT_TRUE(Validate(admission).ok());
  admission.per_tenant.pixels = 0;
  EXPECT_THAT(std::string(Validate(admission).message()), HasSubstr("per_tenant.pixels is 0"));
}

}  // namespace
}  // namespace llava::scheduling
