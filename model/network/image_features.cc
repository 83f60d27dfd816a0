#include "model/network/image_features.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/upsample_bilinear2d.h>

#include <optional>

namespace llava::model {

at::Tensor PackTiles(const at::Tensor& features_BIE, const ImageLayout& layout, int side,
                     const at::Tensor& newline_E) {
  const at::Tensor whole = features_BIE[0];
  const std::int64_t size = whole.size(-1);
  const at::Tensor newline = newline_E.to(whole.scalar_type());
  if (layout.grid.height == 0) {
    return layout.row_ends ? at::cat({whole, newline.unsqueeze(0)}) : whole;
  }
  if (layout.kept.height == 0 || layout.kept.width == 0) {
    // No features, but the ends of their rows.
    return at::cat({whole, newline.expand({layout.reduced.height, size})});
  }
  // [rows of tiles, columns of tiles, side, side, E] -> [rows, columns, E] of features.
  const at::Tensor canvas_HWE =
      features_BIE.slice(0, 1)
          .view({layout.grid.height, layout.grid.width, side, side, size})
          .transpose(1, 2)
          .reshape({layout.grid.height * side, layout.grid.width * side, size});
  at::Tensor kept_HWE = canvas_HWE.narrow(0, layout.margin.height, layout.kept.height)
                            .narrow(1, layout.margin.width, layout.kept.width);
  if (layout.reduced != layout.kept) {
    kept_HWE =
        at::upsample_bilinear2d(kept_HWE.permute({2, 0, 1}).unsqueeze(0).contiguous(),
                                c10::IntArrayRef{layout.reduced.height, layout.reduced.width},
                                /*align_corners=*/false)
            .squeeze(0)
            .permute({1, 2, 0});
  }
  const at::Tensor ends = newline.expand({layout.reduced.height, 1, size});
  return at::cat({whole, at::cat({kept_HWE, ends}, 1).reshape({-1, size})});
}

}  // namespace llava::model
