// Scales of a decoder's channels that lessen what rounded weights cost, from the activations that
// people's own data give: AWQ (Lin et al., arXiv 2306.00978, section 3.2). What an input of a
// product is divided by, its columns of the weights are multiplied with, so that what matters most
// is rounded least; the division goes into the norm or the product before it. The model stays what
// it was, but for rounding.
#ifndef LLAVA_MODEL_NETWORK_CALIBRATION_H_
#define LLAVA_MODEL_NETWORK_CALIBRATION_H_

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/kernels/cpu/dispatch.h"
#include "model/network/llava.h"

namespace llava::model {

// What a weight is multiplied with, fp32; undefined: with 1.
struct ChannelFactors {
  at::Tensor of_inputs = {};   // [in]
  at::Tensor of_outputs = {};  // [out]; of a norm or a bias its elements
};

// By the names of the weights.
using Folds = std::map<std::string, ChannelFactors>;

// weight * factors, fp32.
at::Tensor Folded(const at::Tensor& weight, const ChannelFactors& factors);

// Not thread-safe; the model outlives it. REQUIRES: neither packed nor `fused`, and on the CPU.
// Its methods throw c10::Error as Llava's do.
class Calibration {
 public:
  // `conversations`: how many will be added, so that all of them are among the samples.
  Calibration(Llava& model, std::int64_t conversations);

  // Sees what a conversation, [T, E] rows (EmbedPrompt), makes of the inputs of all products.
  void Add(const at::Tensor& rows_TE);

  // For each input of products the scales mean(|x|)^a with the a in [0, 1) of the least error of
  // their outputs on samples, weights and activations in `format`; a = 0 leaves all as it is.
  // REQUIRES: something was added.
  Folds Find(WeightFormat format) const;

 private:
  // What one input of products was.
  struct Seen {
    at::Tensor magnitude;  // sum of |x|, [in]
    std::int64_t tokens = 0;
    std::vector<at::Tensor> samples;  // [some tokens, in]
  };

  void See(const at::Tensor& x, Seen& seen) const;
  const Linear& linear(int layer, const char* name) const;
  // Sharing: neighbouring heads that have one scale, of `head_dim` channels each.
  at::Tensor FindScales(int layer, const Seen& seen, const std::vector<const char*>& products,
                        std::int64_t sharing, WeightFormat format) const;

  const Llava& model_;
  const std::int64_t samples_of_each_;
  std::map<std::string, const Linear*> linears_;
  std::vector<std::array<Seen, 4>> layers_;  // of q k v, of o, of gate and up, of down
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_CALIBRATION_H_
