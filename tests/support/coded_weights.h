// Random weights whose decoder's layers are codes, as a checkpoint's are that adapters are trained
// beside.
#ifndef LLAVA_TESTS_SUPPORT_CODED_WEIGHTS_H_
#define LLAVA_TESTS_SUPPORT_CODED_WEIGHTS_H_

#include <optional>
#include <string>
#include <vector>

#include "model/checkpoint/weight_names.h"
#include "model/network/weights.h"
#include "training/objective/random_weights.h"

namespace llava::test {

class CodedWeights final : public model::WeightSource {
 public:
  CodedWeights(std::uint64_t seed, at::ScalarType dtype, model::WeightFormat format)
      : seed_(seed), dtype_(dtype), format_(format) {}

  at::Tensor Take(const std::string& name, const std::vector<std::int64_t>& shape) override {
    const at::Tensor tensor = Random(name, shape);
    Keep(name, tensor);
    return tensor;
  }

  std::optional<model::QuantizedMatrix> TakeCodes(const std::string& name, std::int64_t out,
                                                  std::int64_t in) override {
    if (!model::IsDecoderProduct(name)) return std::nullopt;
    Keep(name, at::Tensor());
    model::QuantizedMatrix matrix = model::QuantizeMatrix(Random(name, {out, in}), format_);
    matrix.codes = matrix.codes.clone();  // by LibTorch's allocator, which tests count by
    matrix.scales = matrix.scales.clone();
    return matrix;
  }

 private:
  at::Tensor Random(const std::string& name, const std::vector<std::int64_t>& shape) const {
    return training::RandomWeights(seed_, dtype_, at::kCPU).Take(name, shape);
  }

  const std::uint64_t seed_;
  const at::ScalarType dtype_;
  const model::WeightFormat format_;
};

}  // namespace llava::test

#endif  // LLAVA_TESTS_SUPPORT_CODED_WEIGHTS_H_
