// Pictures for load tests: random rectangles, as PNG files that anything can read.
#ifndef LLAVA_CLIENT_PICTURE_H_
#define LLAVA_CLIENT_PICTURE_H_

#include <string>

#include "base/rng.h"

namespace llava::client {

// RGB, `side` x `side`. The same generator state gives the same bytes.
std::string DrawPicture(int side, Rng* rng);

}  // namespace llava::client

#endif  // LLAVA_CLIENT_PICTURE_H_
