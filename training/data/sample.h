// A training sample as token ids: what the tokenizer, the template and the image preprocessor make
// of one row. A value; made by SampleBuilder, laid side by side by Collate.
#ifndef LLAVA_TRAINING_DATA_SAMPLE_H_
#define LLAVA_TRAINING_DATA_SAMPLE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/picture.h"
#include "model/config/image_layout.h"

namespace llava::training {

// A label that adds nothing to the loss (the reference's IGNORE_INDEX).
inline constexpr std::int32_t kIgnoreLabel = -100;

// Preprocessed, ready for the vision tower.
struct SampleImage {
  std::vector<std::uint8_t> pixels;         // [layout.tiles, 3, height, width], RGB
  std::shared_ptr<const PixelTable> table;  // what they stand for
  int height = 0;                           // of a tile
  int width = 0;
  Digest digest;  // of image and preprocessing: the key of a feature cache
  model::ImageLayout layout;
};

struct Sample {
  std::string id;                      // the row's id, for messages
  std::vector<std::int32_t> ids;       // [tokens], with one image-token id for each feature row
  std::vector<std::int32_t> labels;    // [tokens], not shifted: labels[t] is ids[t] or kIgnoreLabel
  std::vector<ImageSpan> image_spans;  // ascending
  std::vector<SampleImage> images;     // those that are still in a span
  std::int32_t truncated_tokens = 0;   // cut off the end, counted after image expansion

  // False: every label is masked, so that the sample cannot teach anything.
  bool HasLabels() const;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_SAMPLE_H_
