#include "model/ranks/c10d_backend.h"

#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>

namespace llava::model {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(WhatOfTest, LeavesOutTheCallStack) {
  try {
    TORCH_CHECK(false, "no such peer");
  } catch (const std::exception& error) {
    EXPECT_THAT(WhatOf(error), HasSubstr("no such peer"));
    EXPECT_THAT(WhatOf(error), Not(HasSubstr("frame #0")));
  }
  EXPECT_EQ(WhatOf(std::runtime_error("plain")), "plain");
}

TEST(FlightRecorderTest, IsTurnedOffByTheEnvironment) {
  TurnOffFlightRecorder();
  EXPECT_STREQ(std::getenv("TORCH_FR_BUFFER_SIZE"), "0");
}

}  // namespace
}  // namespace llava::model
