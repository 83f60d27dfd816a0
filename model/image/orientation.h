// The EXIF orientation of an image, found where Pillow's ImageOps.exif_transpose looks for it.
#ifndef LLAVA_MODEL_IMAGE_ORIENTATION_H_
#define LLAVA_MODEL_IMAGE_ORIENTATION_H_

#include <string_view>

#include "model/image/image.h"

namespace llava::model {

// Tag 0x0112 of the first directory of an EXIF block ("II*\0…", with or without "Exif\0\0" before
// it). 0 when the block does not have the tag, or is broken: metadata never fails an image.
int ExifOrientation(std::string_view exif);

// tiff:Orientation of an XMP packet, or 0.
int XmpOrientation(std::string_view xmp);

// EXIF first, XMP when EXIF has no such tag. 1 when neither says a number from 1 to 8.
int CombineOrientations(std::string_view exif, std::string_view xmp);

// Turns and mirrors the stored image into the upright one. REQUIRES: orientation in 1..8.
RgbImage ApplyOrientation(RgbImage image, int orientation);

}  // namespace llava::model

#endif  // LLAVA_MODEL_IMAGE_ORIENTATION_H_
