#include "server/torch/device_memory.h"

#include <gtest/gtest.h>

#include <memory>

#include "model/network/llava.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/test_device.h"

namespace llava::server {
namespace {

engine::TorchModel GoldenModel() {
  auto llava = model::Llava::Load(model::GoldenCheckpointDir(),
                                  {.device = model::TestDevice(), .pack = true});
  EXPECT_TRUE(llava.ok()) << llava.status();
  return engine::TorchModel({}, *std::move(llava));
}

TEST(DeviceMemoryTest, ADeviceHasNoMoreFreeThanInAll) {
  const auto memory = MemoryOfDevice(model::TestDevice());
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_GT(memory->free, 0);
  EXPECT_LE(memory->free, memory->total);
}

// Within one prompt, at its end, and beyond what one prompt of this model may have: 512 positions.
TEST(DeviceMemoryTest, AStepOfAnyNumberOfTokensRuns) {
  const engine::TorchModel model = GoldenModel();
  for (const int tokens : {1, 16, 17, 512, 513, 1100}) {
    EXPECT_EQ(RunStep(model, tokens), absl::OkStatus()) << tokens;
  }
}

TEST(DeviceMemoryTest, RecordedStepsTakeAShareOfADeviceAndNoMoreThanTheyNeed) {
  constexpr std::int64_t kGiB = std::int64_t{1} << 30;
  EXPECT_EQ(GraphBytes(141 * kGiB), kGiB / 2);
  EXPECT_EQ(GraphBytes(24 * kGiB), 24 * kGiB / 50);
  EXPECT_EQ(GraphBytes(8 * kGiB), 8 * kGiB / 50);
}

TEST(DeviceMemoryTest, AStepIsMeasuredOnGpusAlone) {
  const auto bytes = MeasureStepOn(GoldenModel(), 512);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes > 0, !model::TestDevice().is_cpu());
}

}  // namespace
}  // namespace llava::server
