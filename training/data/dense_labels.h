// Images with a label for each patch: what a vision tower is taught before it meets a decoder. A
// folder holds patches.json (patch size, rows, columns, planes and the names of their classes, the
// images in order) and patches.u8 (for each image and plane rows x columns bytes).
#ifndef LLAVA_TRAINING_DATA_DENSE_LABELS_H_
#define LLAVA_TRAINING_DATA_DENSE_LABELS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace llava::training {

struct LabelPlane {
  std::string name;                  // "what", "colour"
  std::vector<std::string> classes;  // at most 256
};

struct DenseLabels {
  int patch = 0;  // pixels
  int rows = 0;
  int columns = 0;
  std::vector<LabelPlane> planes;
  std::vector<std::string> images;   // paths relative to the folder's images/
  std::vector<std::uint8_t> labels;  // [images, planes, rows, columns]

  // Where the labels of an image and plane begin in `labels`.
  std::size_t Offset(std::size_t image, std::size_t plane) const {
    return (image * planes.size() + plane) * static_cast<std::size_t>(rows * columns);
  }
};

// NOT_FOUND / INVALID_ARGUMENT: names the file and what is wrong (also a label out of its classes).
absl::StatusOr<DenseLabels> ReadDenseLabels(const std::string& folder);
absl::Status WriteDenseLabels(const DenseLabels& labels, const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_DENSE_LABELS_H_
