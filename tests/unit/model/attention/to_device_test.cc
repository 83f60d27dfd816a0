#include "model/attention/to_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "tests/support/test_device.h"

namespace llava::model {
namespace {

template <typename T>
std::vector<T> Values(const at::Tensor& tensor) {
  const at::Tensor here = tensor.to(at::kCPU).contiguous();
  const T* data = here.const_data_ptr<T>();
  return {data, data + here.numel()};
}

TEST(ToDeviceTest, CopiesItsNumbers) {
  std::vector<std::int64_t> numbers = {3, -1, std::int64_t{1} << 40};
  const at::Tensor copy = ToDevice(numbers, TestDevice());
  numbers[0] = 7;
  EXPECT_EQ(Values<std::int64_t>(copy), (std::vector<std::int64_t>{3, -1, std::int64_t{1} << 40}));
  EXPECT_EQ(ToDevice({}, TestDevice()).size(0), 0);
}

TEST(StepBufferTest, SendsWhatWasFilledLast) {
  StepBuffer buffer(at::kInt, TestDevice());
  for (const int count : {5, 2, 0, 9, 40, 1}) {
    const auto room = buffer.Fill<std::int32_t>(count);
    ASSERT_EQ(room.size(), static_cast<std::size_t>(count));
    std::iota(room.begin(), room.end(), 10 * count);
    const at::Tensor sent = buffer.Send();
    EXPECT_EQ(sent.device().type(), TestDevice().type());
    std::vector<std::int32_t> expected(static_cast<std::size_t>(count));
    std::iota(expected.begin(), expected.end(), 10 * count);
    EXPECT_EQ(Values<std::int32_t>(sent), expected);
  }
}

// What a step that is captured once and replayed relies on.
TEST(StepBufferTest, StaysWhereItIsWhileItIsLargeEnough) {
  StepBuffer buffer(at::kLong, TestDevice());
  const auto address = [&](std::int64_t count) {
    buffer.Fill<std::int64_t>(count);
    return buffer.Send().const_data_ptr();
  };
  const void* const first = address(100);
  EXPECT_EQ(address(1), first);
  EXPECT_EQ(address(100), first);
  const void* const larger = address(101);
  EXPECT_EQ(address(200), larger);  // room was doubled
}

}  // namespace
}  // namespace llava::model
