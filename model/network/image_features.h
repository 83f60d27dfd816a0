// Features of a picture's tiles as one sequence.
#ifndef LLAVA_MODEL_NETWORK_IMAGE_FEATURES_H_
#define LLAVA_MODEL_NETWORK_IMAGE_FEATURES_H_

#include <ATen/core/Tensor.h>

#include "model/config/image_layout.h"

namespace llava::model {

// features_BIE: [layout.tiles, side * side, E], the whole picture first; newline_E: [E] -> [tokens,
// E] as ImageLayout describes it (pack_image_features in transformers' modeling_llava_next.py and
// modeling_llava_onevision.py). Differentiable.
at::Tensor PackTiles(const at::Tensor& features_BIE, const ImageLayout& layout, int side,
                     const at::Tensor& newline_E);

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_IMAGE_FEATURES_H_
