// The golden data (tests/golden/data/README.md): cases of manifest.json, tensors of
// golden.safetensors.
#ifndef LLAVA_TESTS_GOLDEN_GOLDEN_DATA_H_
#define LLAVA_TESTS_GOLDEN_GOLDEN_DATA_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/network/llava.h"

namespace llava::model {

struct GoldenCase {
  std::string name;
  std::string prompt;
  std::vector<std::string> images;  // full paths
  std::vector<std::int64_t> text_ids;
  std::vector<std::int64_t> input_ids;  // one id per image token
  std::vector<std::int64_t> logits_positions;
  std::vector<std::int64_t> greedy_ids;
  std::vector<double> greedy_margins;

  at::Tensor Tensor(const std::string& what) const;  // fp32
  std::vector<std::int64_t> ImageRows() const;       // places of image tokens in input_ids
};

std::string GoldenDir();
std::string GoldenCheckpoint();

// Read once per process; aborts the test program when the data cannot be read.
const std::vector<GoldenCase>& GoldenCases();

// The checkpoint in this dtype on TestDevice(); packed as the daemon does it, or plain.
std::unique_ptr<Llava> LoadGolden(at::ScalarType dtype, bool pack = false);

// The prompt's rows with the image features of the case's recorded pixel values in place.
at::Tensor GoldenEmbeddings(const Llava& model, const GoldenCase& golden,
                            const std::vector<std::int64_t>& ids);

// The largest absolute difference, computed in fp32 on the CPU. Shapes must be equal.
double MaxDifference(const at::Tensor& a, const at::Tensor& b);

}  // namespace llava::model

#endif  // LLAVA_TESTS_GOLDEN_GOLDEN_DATA_H_
