#include "training/run/device.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::training {
namespace {

TEST(DeviceTest, TheCpuIsAlwaysThere) {
  EXPECT_EQ(OpenDevice(DeviceKind::kCpu, 3).value(), at::Device(at::kCPU));
}

TEST(DeviceTest, SaysWhyThereIsNoSuchGpu) {
  constexpr int kBeyondAnyMachine = 100;
  const auto device = OpenDevice(DeviceKind::kCuda, kBeyondAnyMachine);
  EXPECT_EQ(device.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(device.status().message()),
              testing::AllOf(testing::StartsWith("device: cuda: "),
                             testing::AnyOf(testing::HasSubstr("LOCAL_RANK is 100"),
                                            testing::HasSubstr("built without CUDA"),
                                            testing::HasSubstr("no GPU"))));
}

}  // namespace
}  // namespace llava::training
