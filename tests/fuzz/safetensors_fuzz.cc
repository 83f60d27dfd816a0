// Any bytes as a safetensors file: an error, or tensors that lie within the bytes.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "model/checkpoint/safetensors.h"
#include "tests/fuzz/tensor_views.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  const auto tensors = llava::model::ParseSafetensors(file);
  if (tensors.ok()) llava::model::CheckTensorViews(*tensors, file);
  return 0;
}
