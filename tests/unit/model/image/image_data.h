// The pictures below data/images, which make_images.py there made.
#ifndef LLAVA_TESTS_UNIT_MODEL_IMAGE_IMAGE_DATA_H_
#define LLAVA_TESTS_UNIT_MODEL_IMAGE_IMAGE_DATA_H_

#include <fstream>
#include <sstream>
#include <string>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "model/image/image.h"

namespace llava::model {

// The bytes of the file.
inline std::string ImageData(const std::string& name) {
  std::ifstream in("tests/unit/model/image/data/images/" + name, std::ios::binary);
  EXPECT_TRUE(in) << name;
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

// What a probe or a decoder says that must refuse its bytes.
template <typename T>
std::string ErrorOf(const absl::StatusOr<T>& result) {
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument) << result.status();
  return std::string(result.status().message());
}

}  // namespace llava::model

#endif  // LLAVA_TESTS_UNIT_MODEL_IMAGE_IMAGE_DATA_H_
