// Weights that other programs quantised: what `quantization_config` of AutoAWQ's and of GPTQ's
// checkpoints says of them. Where their codes lie is model/checkpoint/coded_weight.h.
#ifndef LLAVA_MODEL_CONFIG_FOREIGN_CODES_H_
#define LLAVA_MODEL_CONFIG_FOREIGN_CODES_H_

#include <string>
#include <string_view>

#include "base/json_reader.h"

namespace llava::model {

struct ForeignCodes {
  enum class Method {
    kAwq,   // AutoAWQ, version "gemm"
    kGptq,  // checkpoint_format "gptq" and "gptq_v2"
  };
  Method method = Method::kAwq;
  int bits = 4;            // of a code: 4, of kGptq also 8
  int group = 128;         // inputs that share a scale and a zero point; 0: all of them
  int zero_offset = 0;     // a zero point is the stored number and this: 1 in "gptq"
  bool any_order = false;  // a tensor g_idx says which group an input is of: desc_act of kGptq

  friend bool operator==(const ForeignCodes&, const ForeignCodes&) = default;
};

// Whether `quant_method` is one of these.
bool IsForeignMethod(std::string_view quant_method);

// The settings in quantization_config. Fails where the codes are laid out in another way, and
// names key, value and what is supported. REQUIRES: IsForeignMethod of its quant_method.
ForeignCodes ReadForeignCodes(JsonReader& settings);

// "AWQ, 4 bits, groups of 128".
std::string ForeignCodesText(const ForeignCodes& codes);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CONFIG_FOREIGN_CODES_H_
