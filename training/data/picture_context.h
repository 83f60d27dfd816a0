// What a language model is told of a picture instead of seeing it: captions, and boxes around
// things, in the files that LLaVA's authors made ("caps_boxes_*.jsonl") and in the words that they
// used. Pure functions, any thread.
#ifndef LLAVA_TRAINING_DATA_PICTURE_CONTEXT_H_
#define LLAVA_TRAINING_DATA_PICTURE_CONTEXT_H_

#include <boost/json/object.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace llava::training {

struct ContextBox {
  std::string category;
  std::string bbox;  // as Python prints the list: "[0.37, 0.584, 0.504, 1.0]"
};

struct PictureContext {
  std::string id;
  std::string image;                  // the file's name
  std::vector<std::string> captions;  // LLaVA-Bench in the wild has one, which may be long
  std::vector<ContextBox> boxes;
};

// {"id", "image", "captions": [...] or "caption": "..." or [...], "instances": [{"category",
// "bbox"}]}; `id` and `instances` may be missing. INVALID_ARGUMENT names the key and `place`.
absl::StatusOr<PictureContext> ParsePictureContext(const boost::json::object& object,
                                                   const std::string& place);

// One caption a line.
std::string CaptionText(const PictureContext& context);

// "category: [x1, y1, x2, y2]", one a line.
std::string BoxText(const PictureContext& context);

// A number as Python prints it: 0.63, 1.0, 1e-05.
std::string PythonNumber(double value);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_PICTURE_CONTEXT_H_
