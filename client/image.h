// Images for load tests: random rectangles, as PNG files that anything can read.
#ifndef LLAVA_CLIENT_IMAGE_H_
#define LLAVA_CLIENT_IMAGE_H_

#include <string>

#include "base/rng.h"

namespace llava::client {

// RGB, `side` x `side`. The same generator state gives the same bytes.
std::string DrawImage(int side, Rng* rng);

}  // namespace llava::client

#endif  // LLAVA_CLIENT_IMAGE_H_
