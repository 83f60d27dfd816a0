#include "model/image/encode.h"

#include <png.h>

#include <csetjmp>
#include <cstddef>
#include <cstdio>
#include <cstdlib>

// clang-format off
#include <jpeglib.h>  // needs what <cstdio> declares
// clang-format on

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace llava::model {
namespace {

absl::Status CheckPixels(const RgbImage& image) {
  const auto is_side = [](int side) { return side >= 1 && side <= kMaxImageSide; };
  if (is_side(image.width) && is_side(image.height) &&
      image.pixels.size() ==
          3 * static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("a picture of ", image.width, " x ", image.height, " with ", image.pixels.size(),
                   " bytes, expected sides of 1 to ", kMaxImageSide, " and 3 bytes a pixel"));
}

// libjpeg reports an error by a function that may not return.
struct ErrorManager {
  jpeg_error_mgr base;  // first: libjpeg hands back a pointer to it
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX] = "";
};

[[noreturn]] void Fail(j_common_ptr jpeg) {
  auto* errors = reinterpret_cast<ErrorManager*>(jpeg->err);
  errors->base.format_message(jpeg, errors->message);
  std::longjmp(errors->jump, 1);
}

struct Compressor {
  jpeg_compress_struct jpeg{};
  ErrorManager errors{};
  unsigned char* bytes = nullptr;  // malloc's
  unsigned long size = 0;

  Compressor() = default;
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;
  ~Compressor() {
    jpeg_destroy_compress(&jpeg);
    std::free(bytes);
  }
};

// False: errors.message says why. Leaves by longjmp: nothing here has a destructor.
bool Compress(const RgbImage& image, int quality, Compressor& to) {
  to.jpeg.err = jpeg_std_error(&to.errors.base);
  to.errors.base.error_exit = Fail;
  if (setjmp(to.errors.jump) != 0) return false;
  jpeg_create_compress(&to.jpeg);
  jpeg_mem_dest(&to.jpeg, &to.bytes, &to.size);
  to.jpeg.image_width = static_cast<JDIMENSION>(image.width);
  to.jpeg.image_height = static_cast<JDIMENSION>(image.height);
  to.jpeg.input_components = 3;
  to.jpeg.in_color_space = JCS_RGB;
  jpeg_set_defaults(&to.jpeg);
  jpeg_set_quality(&to.jpeg, quality, TRUE);
  jpeg_start_compress(&to.jpeg, TRUE);
  while (to.jpeg.next_scanline < to.jpeg.image_height) {
    // libjpeg only reads from it, but has no type for that.
    auto* row = const_cast<JSAMPROW>(image.pixels.data() +
                                     std::size_t{3} * to.jpeg.next_scanline * to.jpeg.image_width);
    jpeg_write_scanlines(&to.jpeg, &row, 1);
  }
  jpeg_finish_compress(&to.jpeg);
  return true;
}

}  // namespace

absl::StatusOr<std::string> EncodeJpeg(const RgbImage& image, int quality) {
  RETURN_IF_ERROR(CheckPixels(image));
  if (quality < 1 || quality > 100) {
    return absl::InvalidArgumentError(
        absl::StrCat("a JPEG quality of ", quality, ", expected 1 to 100"));
  }
  Compressor compressor;
  if (!Compress(image, quality, compressor)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a JPEG of ", image.width, " x ", image.height,
                     " cannot be written: ", absl::string_view(compressor.errors.message)));
  }
  return std::string(reinterpret_cast<const char*>(compressor.bytes), compressor.size);
}

absl::StatusOr<std::string> EncodePng(const RgbImage& image) {
  RETURN_IF_ERROR(CheckPixels(image));
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<png_uint_32>(image.width);
  png.height = static_cast<png_uint_32>(image.height);
  png.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);  // no more than this
  std::string bytes(size, '\0');
  if (png_image_write_to_memory(&png, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr) ==
      0) {
    return absl::InvalidArgumentError(absl::StrCat("a PNG of ", image.width, " x ", image.height,
                                                   " cannot be written: ", png.message));
  }
  bytes.resize(size);
  return bytes;
}

}  // namespace llava::model
