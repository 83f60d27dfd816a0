#include "model/attention/to_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <utility>
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

// On the test's device as it is, and on one that takes the way of a GPU.
class StepBufferTest : public testing::TestWithParam<bool> {
 protected:
  StepBuffer buffer_{TestDevice(), GetParam() || !TestDevice().is_cpu()};
};

TEST_P(StepBufferTest, SendsAllThatWasAdded) {
  for (const int count : {5, 2, 0, 9, 40, 1}) {
    buffer_.Begin();
    const auto [ints, room] = buffer_.Add<std::int32_t>(count);
    ASSERT_EQ(room.size(), static_cast<std::size_t>(count));
    std::iota(room.begin(), room.end(), 10 * count);
    const std::vector<double> more(static_cast<std::size_t>(3 * count), count + 0.5);
    const StepBuffer::Part doubles = buffer_.AddCopyOf<double>(more);
    const std::vector<std::int64_t> last = {count, -1};
    const StepBuffer::Part longs = buffer_.AddCopyOf<std::int64_t>(last);
    buffer_.Send();
    EXPECT_EQ(buffer_.Get(ints).device().type(), TestDevice().type());
    std::vector<std::int32_t> expected(static_cast<std::size_t>(count));
    std::iota(expected.begin(), expected.end(), 10 * count);
    EXPECT_EQ(Values<std::int32_t>(buffer_.Get(ints)), expected);
    EXPECT_EQ(Values<double>(buffer_.Get(doubles)), more);
    EXPECT_EQ(Values<std::int64_t>(buffer_.Get(longs)), last);
  }
}

// What a step that is captured once and replayed relies on.
TEST_P(StepBufferTest, StaysWhereItIsWhileItIsLargeEnough) {
  const auto address = [&](std::int64_t count) {
    buffer_.Begin();
    const StepBuffer::Part part = buffer_.Add<std::int64_t>(count).first;
    buffer_.Send();
    return buffer_.Get(part).const_data_ptr();
  };
  const void* const first = address(100);
  EXPECT_EQ(address(1), first);
  EXPECT_EQ(address(100), first);
  const void* const larger = address(101);
  EXPECT_EQ(address(200), larger);  // room was doubled
}

// The device may be behind: what it still reads is not what is filled next.
TEST_P(StepBufferTest, TheNextStepIsFilledBesideTheOneOnItsWay) {
  if (!GetParam()) GTEST_SKIP() << "nothing is copied";
  const auto fill = [&](std::int64_t value) {
    buffer_.Begin();
    const auto [part, room] = buffer_.Add<std::int64_t>(1);
    room[0] = value;
    const std::int64_t* const place = room.data();
    buffer_.Send();
    return std::pair(part, place);
  };
  const auto [first_part, first] = fill(1);
  const auto [second_part, second] = fill(2);
  EXPECT_NE(first, second);
  EXPECT_EQ(*first, 1);
  EXPECT_EQ(Values<std::int64_t>(buffer_.Get(second_part)).front(), 2);
  EXPECT_EQ(fill(3).second, first) << "two are enough";
}

TEST_P(StepBufferTest, OnACpuNothingIsCopiedUnlessATestWantsIt) {
  if (!TestDevice().is_cpu()) GTEST_SKIP() << "of a CPU";
  buffer_.Begin();
  const auto [part, room] = buffer_.Add<std::int64_t>(3);
  const void* const host = room.data();
  buffer_.Send();
  EXPECT_EQ(buffer_.Get(part).const_data_ptr() == host, !GetParam());
}

INSTANTIATE_TEST_SUITE_P(Devices, StepBufferTest, testing::Bool(),
                         [](const auto& copies) { return copies.param ? "copies" : "as_it_is"; });

}  // namespace
}  // namespace llava::model
