// Grounds of free scenes.
#ifndef LLAVA_TRAINING_DATA_SCENES_GROUND_H_
#define LLAVA_TRAINING_DATA_SCENES_GROUND_H_

#include "base/rng.h"
#include "opencv2/core.hpp"

namespace llava::training::scenes {

// 8 bits, blue, green, red: plain, graded, striped, chequered, blotched, or noise of several
// octaves as a photograph out of focus has it. Pale, dark or greyish, so that no ground is one of
// the colours that are asked about. `scale`: pixels of `size` for one of the finished picture.
cv::Mat MakeGround(Rng& rng, cv::Size size, double scale);

// Uniform in [low, high).
double Between(Rng& rng, double low, double high);

// Of 8 bits, as BT.601 weighs the channels.
double Luminance(const cv::Scalar& bgr);

// From hue in degrees, saturation and value in [0, 1].
cv::Scalar BgrOfHsv(double hue, double saturation, double value);

}  // namespace llava::training::scenes

#endif  // LLAVA_TRAINING_DATA_SCENES_GROUND_H_
