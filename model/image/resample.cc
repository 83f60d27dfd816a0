#include "model/image/resample.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "base/check.h"

namespace llava::model {
namespace {

constexpr int kFractionBits = 32 - 8 - 2;
constexpr std::int32_t kHalf = 1 << (kFractionBits - 1);

// Sums run over whole groups of taps, so that the compiler needs no loop for the rest.
constexpr std::size_t kTapGroup = 8;

// The weights of each wanted pixel of an axis.
struct Taps {
  struct Pixel {
    std::int64_t start = 0;    // first source pixel, counted from the image's
    std::size_t count = 0;     // taps on the image
    std::int32_t outside = 0;  // sum of the weights that fall on the canvas beside the image
  };
  std::size_t stride = 0;  // taps of a pixel in `weights`: zeros follow `count`
  std::vector<std::int32_t> weights;
  std::vector<Pixel> pixels;

  const std::int32_t* WeightsOf(std::size_t pixel) const { return weights.data() + pixel * stride; }
};

double Bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double Bilinear(double x) {
  x = std::abs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

std::int32_t ToFixed(double weight) {
  return static_cast<std::int32_t>(weight * (1 << kFractionBits) + (weight < 0 ? -0.5 : 0.5));
}

// The arithmetic follows Pillow's Resample.c step by step: weights must round as they do there.
Taps MakeTaps(const ResampleAxis& axis, ResampleFilter filter) {
  const bool is_cubic = filter == ResampleFilter::kBicubic;
  const double scale = static_cast<double>(axis.canvas) / static_cast<double>(axis.resized);
  const double widening = std::max(scale, 1.0);
  const double support = (is_cubic ? 2.0 : 1.0) * widening;
  const std::size_t most = static_cast<std::size_t>(std::ceil(support)) * 2 + 1;
  Taps taps;
  taps.stride = (most + kTapGroup - 1) / kTapGroup * kTapGroup;
  taps.pixels.resize(static_cast<std::size_t>(axis.count));
  taps.weights.resize(taps.stride * taps.pixels.size());
  std::vector<double> weights(most);
  for (std::size_t i = 0; i < taps.pixels.size(); ++i) {
    const double center =
        (static_cast<double>(axis.first + static_cast<std::int64_t>(i)) + 0.5) * scale;
    const auto low = std::max<std::int64_t>(static_cast<std::int64_t>(center - support + 0.5), 0);
    const auto high =
        std::min<std::int64_t>(static_cast<std::int64_t>(center + support + 0.5), axis.canvas);
    double sum = 0;
    for (std::int64_t x = low; x < high; ++x) {
      const double at = (static_cast<double>(x) - center + 0.5) * (1.0 / widening);
      const double weight = is_cubic ? Bicubic(at) : Bilinear(at);
      weights[static_cast<std::size_t>(x - low)] = weight;
      sum += weight;
    }
    Taps::Pixel& pixel = taps.pixels[i];
    pixel.start = std::clamp<std::int64_t>(low - axis.offset, 0, axis.image);
    for (std::int64_t x = low; x < high; ++x) {
      double weight = weights[static_cast<std::size_t>(x - low)];
      if (sum != 0.0) weight /= sum;
      const std::int64_t at = x - axis.offset;
      if (at >= 0 && at < axis.image) {
        taps.weights[i * taps.stride + pixel.count++] = ToFixed(weight);
      } else {
        pixel.outside += ToFixed(weight);
      }
    }
  }
  return taps;
}

// Pillow does not touch an axis that keeps its size.
Taps MakeIdentity(const ResampleAxis& axis) {
  Taps taps;
  taps.stride = kTapGroup;
  taps.pixels.resize(static_cast<std::size_t>(axis.count));
  taps.weights.resize(taps.stride * taps.pixels.size());
  for (std::size_t i = 0; i < taps.pixels.size(); ++i) {
    const std::int64_t at = axis.first + static_cast<std::int64_t>(i) - axis.offset;
    Taps::Pixel& pixel = taps.pixels[i];
    pixel.start = std::clamp<std::int64_t>(at, 0, axis.image);
    if (at >= 0 && at < axis.image) {
      pixel.count = 1;
      taps.weights[i * taps.stride] = 1 << kFractionBits;
    } else {
      pixel.outside = 1 << kFractionBits;
    }
  }
  return taps;
}

Taps TapsOf(const ResampleAxis& axis, ResampleFilter filter) {
  return axis.canvas == axis.resized ? MakeIdentity(axis) : MakeTaps(axis, filter);
}

// The source pixels that any wanted pixel needs: [first, last).
struct Range {
  std::int64_t first = 0;
  std::int64_t last = 0;
  std::size_t size() const { return static_cast<std::size_t>(last - first); }
};

Range SourceRange(const Taps& taps) {
  Range range;
  bool any = false;
  for (const Taps::Pixel& pixel : taps.pixels) {
    if (pixel.count == 0) continue;
    const std::int64_t end = pixel.start + static_cast<std::int64_t>(pixel.count);
    range.first = any ? std::min(range.first, pixel.start) : pixel.start;
    range.last = any ? std::max(range.last, end) : end;
    any = true;
  }
  return range;
}

inline std::uint8_t ToByte(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kFractionBits, 0, 255));
}

#define LLAVA_ALWAYS_INLINE inline __attribute__((always_inline))

using Colour = std::array<std::uint8_t, 3>;

// Sums `rgb` over the taps of each wanted pixel. `planes` has room for red, green and blue of the
// row's `width` pixels, each with a group of zeros behind it; `edge` is the colour beside the row.
LLAVA_ALWAYS_INLINE void ResampleRowBody(const Taps& taps, std::int64_t first_source,
                                         const std::uint8_t* __restrict rgb, std::size_t width,
                                         const Colour& edge, std::uint8_t* __restrict planes,
                                         std::uint8_t* __restrict out) {
  const std::size_t stride = width + kTapGroup;
  for (std::size_t x = 0; x < width; ++x) {
    planes[x] = rgb[3 * x];
    planes[stride + x] = rgb[3 * x + 1];
    planes[2 * stride + x] = rgb[3 * x + 2];
  }
  for (std::size_t i = 0; i < taps.pixels.size(); ++i) {
    const Taps::Pixel& pixel = taps.pixels[i];
    const std::int32_t* __restrict weights = taps.WeightsOf(i);
    const std::size_t count = (pixel.count + kTapGroup - 1) / kTapGroup * kTapGroup;
    const std::uint8_t* __restrict source =
        planes + (pixel.count == 0 ? 0 : pixel.start - first_source);
    std::int32_t red = kHalf + edge[0] * pixel.outside;
    std::int32_t green = kHalf + edge[1] * pixel.outside;
    std::int32_t blue = kHalf + edge[2] * pixel.outside;
    for (std::size_t k = 0; k < count; ++k) {
      red += weights[k] * source[k];
      green += weights[k] * source[stride + k];
      blue += weights[k] * source[2 * stride + k];
    }
    out[3 * i] = ToByte(red);
    out[3 * i + 1] = ToByte(green);
    out[3 * i + 2] = ToByte(blue);
  }
}

LLAVA_ALWAYS_INLINE void AddRowBody(std::int32_t weight, const std::uint8_t* __restrict row,
                                    std::size_t size, std::int32_t* __restrict sums) {
  for (std::size_t i = 0; i < size; ++i) sums[i] += weight * row[i];
}

void ResampleRowPortable(const Taps& taps, std::int64_t first_source, const std::uint8_t* rgb,
                         std::size_t width, const Colour& edge, std::uint8_t* planes,
                         std::uint8_t* out) {
  ResampleRowBody(taps, first_source, rgb, width, edge, planes, out);
}
void AddRowPortable(std::int32_t weight, const std::uint8_t* row, std::size_t size,
                    std::int32_t* sums) {
  AddRowBody(weight, row, size, sums);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void ResampleRowAvx2(const Taps& taps, std::int64_t first_source,
                                                     const std::uint8_t* rgb, std::size_t width,
                                                     const Colour& edge, std::uint8_t* planes,
                                                     std::uint8_t* out) {
  ResampleRowBody(taps, first_source, rgb, width, edge, planes, out);
}
__attribute__((target("avx2"))) void AddRowAvx2(std::int32_t weight, const std::uint8_t* row,
                                                std::size_t size, std::int32_t* sums) {
  AddRowBody(weight, row, size, sums);
}
#endif

struct Kernels {
  decltype(&ResampleRowPortable) resample_row = ResampleRowPortable;
  decltype(&AddRowPortable) add_row = AddRowPortable;
};

Kernels ChooseKernels() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return {ResampleRowAvx2, AddRowAvx2};
#endif
  return {};
}

// Rows of RGB somewhere in memory.
struct Rows {
  const std::uint8_t* data = nullptr;
  std::size_t stride = 0;  // bytes from row to row
  std::size_t count = 0;
};

// `rows` begin at the first source pixel that any wanted one needs. `edges`: the colour beside
// each.
std::vector<std::uint8_t> ResampleColumns(const Rows& rows, const Taps& taps,
                                          const std::vector<Colour>& edges) {
  const Kernels kernels = ChooseKernels();
  const Range source = SourceRange(taps);
  const std::size_t out_stride = 3 * taps.pixels.size();
  std::vector<std::uint8_t> planes(3 * (source.size() + kTapGroup));
  std::vector<std::uint8_t> out(rows.count * out_stride);
  for (std::size_t y = 0; y < rows.count; ++y) {
    kernels.resample_row(taps, source.first, rows.data + y * rows.stride, source.size(), edges[y],
                         planes.data(), out.data() + y * out_stride);
  }
  return out;
}

// `rows` begin with the first source row that any wanted one needs. `edge`: what the rows above and
// below the image look like.
std::vector<std::uint8_t> ResampleRows(const Rows& rows, const Taps& taps,
                                       const std::vector<std::uint8_t>& edge) {
  const Kernels kernels = ChooseKernels();
  const Range source = SourceRange(taps);
  const std::size_t width = edge.size();
  std::vector<std::int32_t> sums(width);
  std::vector<std::uint8_t> out(taps.pixels.size() * width);
  for (std::size_t y = 0; y < taps.pixels.size(); ++y) {
    const Taps::Pixel& pixel = taps.pixels[y];
    for (std::size_t i = 0; i < width; ++i) sums[i] = kHalf + pixel.outside * edge[i];
    for (std::size_t k = 0; k < pixel.count; ++k) {
      const std::size_t row = static_cast<std::size_t>(pixel.start - source.first) + k;
      kernels.add_row(taps.WeightsOf(y)[k], rows.data + row * rows.stride, width, sums.data());
    }
    for (std::size_t i = 0; i < width; ++i) out[y * width + i] = ToByte(sums[i]);
  }
  return out;
}

// What a row or column of the canvas's colour alone becomes, at each wanted pixel.
std::vector<Colour> ResampleCanvas(const Taps& taps, const Colour& colour) {
  std::vector<Colour> out(taps.pixels.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::int32_t sum = taps.pixels[i].outside;
    for (std::size_t k = 0; k < taps.pixels[i].count; ++k) sum += taps.WeightsOf(i)[k];
    for (std::size_t c = 0; c < 3; ++c) out[i][c] = ToByte(kHalf + colour[c] * sum);
  }
  return out;
}

std::vector<std::uint8_t> Flatten(const std::vector<Colour>& colours) {
  std::vector<std::uint8_t> bytes;
  bytes.reserve(3 * colours.size());
  for (const Colour& colour : colours) bytes.insert(bytes.end(), colour.begin(), colour.end());
  return bytes;
}

// Pillow's rule since 13.0: what loses more than twice as many rows as columns is resized by rows
// first.
bool RowsFirst(const ResampleAxis& horizontal, const ResampleAxis& vertical) {
  const std::int64_t rows_lost = vertical.canvas - vertical.resized;
  return rows_lost > 0 && rows_lost > 2 * (horizontal.canvas - horizontal.resized);
}

}  // namespace

RgbImage Resample(const RgbImage& image, const std::array<std::uint8_t, 3>& canvas_colour,
                  const ResampleAxis& horizontal, const ResampleAxis& vertical,
                  ResampleFilter filter) {
  LLAVA_CHECK_EQ(horizontal.image, image.width);
  LLAVA_CHECK_EQ(vertical.image, image.height);
  const Taps columns = TapsOf(horizontal, filter);
  const Taps rows = TapsOf(vertical, filter);
  const Range wanted_columns = SourceRange(columns);
  const Range wanted_rows = SourceRange(rows);
  const auto stride = 3 * static_cast<std::size_t>(image.width);
  const Rows source{image.pixels.data() + static_cast<std::size_t>(wanted_rows.first) * stride +
                        3 * static_cast<std::size_t>(wanted_columns.first),
                    stride, wanted_rows.size()};
  RgbImage result{static_cast<int>(horizontal.count), static_cast<int>(vertical.count), {}};
  if (RowsFirst(horizontal, vertical)) {
    const std::vector<Colour> above(wanted_columns.size(), canvas_colour);
    const std::vector<std::uint8_t> flat = ResampleRows(source, rows, Flatten(above));
    result.pixels = ResampleColumns({flat.data(), 3 * wanted_columns.size(), rows.pixels.size()},
                                    columns, ResampleCanvas(rows, canvas_colour));
  } else {
    const std::vector<Colour> beside(source.count, canvas_colour);
    const std::vector<std::uint8_t> narrow = ResampleColumns(source, columns, beside);
    result.pixels = ResampleRows({narrow.data(), 3 * columns.pixels.size(), source.count}, rows,
                                 Flatten(ResampleCanvas(columns, canvas_colour)));
  }
  return result;
}

}  // namespace llava::model
