// The device that tests of the model run on.
#ifndef LLAVA_TESTS_SUPPORT_TEST_DEVICE_H_
#define LLAVA_TESTS_SUPPORT_TEST_DEVICE_H_

#include <c10/core/Device.h>

#include <cstdlib>

namespace llava::model {

// The CPU, or what LLAVA_TEST_DEVICE names.
inline at::Device TestDevice() {
  const char* name = std::getenv("LLAVA_TEST_DEVICE");
  return at::Device(name == nullptr ? "cpu" : name);
}

}  // namespace llava::model

#endif  // LLAVA_TESTS_SUPPORT_TEST_DEVICE_H_
