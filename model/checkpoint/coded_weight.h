// A matrix [out, in] that AWQ or GPTQ quantised, as it lies in the files: tensors of words of 32
// bits with 32 / bits codes each, the first in the low bits.
//   qweight  AWQ: [in, out / 8], a word has the outputs 0, 2, 4, 6, 1, 3, 5, 7 of eight of an input
//            GPTQ: [in * bits / 32, out], a word has neighbouring inputs of an output
//   qzeros   [groups, out * bits / 32], zero points: of AWQ in the same order of outputs, of GPTQ
//            one after the other, less ForeignCodes::zero_offset (modulo 2^bits)
//   scales   [groups, out]
//   g_idx    of GPTQ only, [in]: the group of each input. Without it they are neighbours
// A number is (code - zero point) * scale. Sources: AutoAWQ, awq/utils/packing_utils.py; AutoGPTQ,
// auto_gptq/nn_modules/qlinear.
#ifndef LLAVA_MODEL_CHECKPOINT_CODED_WEIGHT_H_
#define LLAVA_MODEL_CHECKPOINT_CODED_WEIGHT_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "model/checkpoint/checkpoint.h"
#include "model/config/foreign_codes.h"

namespace llava::model {

// Invariant (kept by JoinCodeParts): the shapes fit each other; what g_idx says is not read yet.
struct CodedWeight {
  ForeignCodes codes;
  CheckpointTensor qweight, qzeros, scales;
  std::optional<CheckpointTensor> g_idx;
  std::int64_t out = 0;
  std::int64_t in = 0;
  std::int64_t groups = 0;
};

// "a.b.qweight" as {"a.b", "qweight"}; nothing where the key is no part of such a matrix.
struct CodePart {
  std::string_view module;
  std::string_view name;
};
std::optional<CodePart> CodePartOf(std::string_view key);

// The matrix of which `parts` are the tensors by CodePart::name, not empty. NOT_FOUND for a part
// that is missing; INVALID_ARGUMENT for a dtype or a shape that does not fit the others and
// `codes`. The message names tensor, shape and what was expected.
absl::StatusOr<CodedWeight> JoinCodeParts(const std::map<std::string, CheckpointTensor>& parts,
                                          const ForeignCodes& codes);

// What a tensor takes in its files.
std::uint64_t StoredBytes(const CheckpointTensor& tensor);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_CODED_WEIGHT_H_
