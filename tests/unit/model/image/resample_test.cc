#include "model/image/resample.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "base/rng.h"
#include "gtest/gtest.h"

namespace llava::model {
namespace {

RgbImage RandomImage(Rng& rng, int width, int height) {
  RgbImage image{width, height, {}};
  image.pixels.resize(std::size_t{3} * width * height);
  for (auto& byte : image.pixels) byte = static_cast<std::uint8_t>(rng.Below(256));
  return image;
}

// The plainest form of Pillow's resampling, one channel, one axis: the whole canvas is there.
std::vector<std::uint8_t> NaiveResample(const std::vector<std::uint8_t>& in, int out_size,
                                        ResampleFilter filter) {
  const int in_size = static_cast<int>(in.size());
  if (in_size == out_size) return in;
  const double scale = static_cast<double>(in_size) / out_size;
  const double widening = std::max(scale, 1.0);
  const bool is_cubic = filter == ResampleFilter::kBicubic;
  const double span = is_cubic ? 2 : 1;
  const auto kernel = [&](double x) {
    x = std::abs(x);
    if (!is_cubic) return x < 1 ? 1 - x : 0.0;
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0.0;
  };
  std::vector<std::uint8_t> out;
  for (int i = 0; i < out_size; ++i) {
    const double center = (i + 0.5) * scale;
    const int low = std::max(0, static_cast<int>(center - span * widening + 0.5));
    const int high = std::min(in_size, static_cast<int>(center + span * widening + 0.5));
    double sum = 0;
    for (int x = low; x < high; ++x) sum += kernel((x - center + 0.5) / widening);
    std::int64_t total = 1 << 21;
    for (int x = low; x < high; ++x) {
      const double weight = kernel((x - center + 0.5) * (1 / widening)) / sum;
      total += in[x] * static_cast<std::int64_t>(weight * (1 << 22) + (weight < 0 ? -0.5 : 0.5));
    }
    out.push_back(static_cast<std::uint8_t>(std::clamp<std::int64_t>(total >> 22, 0, 255)));
  }
  return out;
}

using Plane = std::vector<std::vector<std::uint8_t>>;

Plane NaiveResampleColumns(Plane plane, std::int64_t size, ResampleFilter filter) {
  for (auto& row : plane) row = NaiveResample(row, static_cast<int>(size), filter);
  return plane;
}

Plane Transpose(const Plane& plane) {
  Plane out(plane[0].size(), std::vector<std::uint8_t>(plane.size()));
  for (std::size_t y = 0; y < plane.size(); ++y) {
    for (std::size_t x = 0; x < plane[0].size(); ++x) out[x][y] = plane[y][x];
  }
  return out;
}

// Pads, resizes the whole image and cuts the window out of it at the end.
RgbImage NaiveWindow(const RgbImage& picture, const std::array<std::uint8_t, 3>& colour,
                     const ResampleAxis& horizontal, const ResampleAxis& vertical,
                     ResampleFilter filter) {
  RgbImage out{static_cast<int>(horizontal.count), static_cast<int>(vertical.count), {}};
  out.pixels.resize(std::size_t{3} * out.width * out.height);
  const std::int64_t rows_lost = vertical.canvas - vertical.resized;
  const bool rows_first = rows_lost > 0 && rows_lost > 2 * (horizontal.canvas - horizontal.resized);
  for (int c = 0; c < 3; ++c) {
    Plane plane(vertical.canvas, std::vector<std::uint8_t>(horizontal.canvas, colour[c]));
    for (int y = 0; y < picture.height; ++y) {
      for (int x = 0; x < picture.width; ++x) {
        plane[vertical.offset + y][horizontal.offset + x] =
            picture.pixels[3 * (y * picture.width + x) + c];
      }
    }
    if (!rows_first) plane = NaiveResampleColumns(plane, horizontal.resized, filter);
    plane = Transpose(NaiveResampleColumns(Transpose(plane), vertical.resized, filter));
    if (rows_first) plane = NaiveResampleColumns(plane, horizontal.resized, filter);
    for (int y = 0; y < out.height; ++y) {
      for (int x = 0; x < out.width; ++x) {
        out.pixels[3 * (y * out.width + x) + c] = plane[vertical.first + y][horizontal.first + x];
      }
    }
  }
  return out;
}

ResampleAxis RandomAxis(Rng& rng, int pixels) {
  ResampleAxis axis{.image = pixels};
  axis.canvas = pixels + (rng.Chance(0.5) ? rng.Between(0, 40) : 0);
  axis.offset = rng.Between(0, axis.canvas - pixels);
  axis.resized = rng.Chance(0.2) ? axis.canvas : rng.Between(1, 60);
  axis.first = rng.Between(0, axis.resized - 1);
  axis.count = rng.Between(1, axis.resized - axis.first);
  return axis;
}

TEST(ResampleTest, AWindowEqualsThePartOfTheWholeResizedCanvas) {
  constexpr std::uint64_t kSeed = 7;
  SCOPED_TRACE(kSeed);
  Rng rng(kSeed);
  for (int round = 0; round < 300; ++round) {
    const int width = static_cast<int>(rng.Between(1, rng.Chance(0.2) ? 200 : 40));
    const int height = static_cast<int>(rng.Between(1, 40));
    const RgbImage picture = RandomImage(rng, width, height);
    const ResampleAxis horizontal = RandomAxis(rng, picture.width);
    const ResampleAxis vertical = RandomAxis(rng, picture.height);
    const std::array<std::uint8_t, 3> colour{122, 116, 255};
    const auto filter = rng.Chance(0.5) ? ResampleFilter::kBicubic : ResampleFilter::kBilinear;
    ASSERT_EQ(Resample(picture, colour, horizontal, vertical, filter).pixels,
              NaiveWindow(picture, colour, horizontal, vertical, filter).pixels)
        << "round " << round;
  }
}

constexpr std::array<std::uint8_t, 3> kCanvas{10, 20, 30};

// An axis whose canvas is the image, all of which is wanted.
ResampleAxis Whole(std::int64_t from, std::int64_t to) {
  return {.canvas = from, .image = from, .resized = to, .count = to};
}

TEST(ResampleTest, WhatKeepsItsSizeKeepsItsPixels) {
  Rng rng(1);
  const RgbImage picture = RandomImage(rng, 13, 9);
  EXPECT_EQ(Resample(picture, kCanvas, Whole(13, 13), Whole(9, 9)).pixels, picture.pixels);
}

TEST(ResampleTest, OneColourStaysItself) {
  RgbImage picture{20, 10, {}};
  for (int i = 0; i < 200; ++i) picture.pixels.insert(picture.pixels.end(), {255, 128, 1});
  for (const std::int64_t size : {1, 3, 10, 47}) {
    const RgbImage resized = Resample(picture, kCanvas, Whole(20, size), Whole(10, size));
    ASSERT_EQ(resized.pixels.size(), static_cast<std::size_t>(3 * size * size));
    for (std::size_t i = 0; i < resized.pixels.size(); i += 3) {
      EXPECT_EQ(resized.pixels[i], 255);
      EXPECT_EQ(resized.pixels[i + 1], 128);
      EXPECT_EQ(resized.pixels[i + 2], 1);
    }
  }
}

// Half the size: each pixel is a mean of those around it, with Catmull and Rom's weights.
TEST(ResampleTest, ShrinkingTakesTheMeanOfWhatIsLeftOut) {
  RgbImage picture{4, 1, {}};
  for (const std::uint8_t value : std::vector<std::uint8_t>{0, 0, 200, 200}) {
    picture.pixels.insert(picture.pixels.end(), {value, value, value});
  }
  const RgbImage half = Resample(picture, kCanvas, Whole(4, 2), Whole(1, 1));
  EXPECT_EQ(half.pixels[0], 17);
  EXPECT_EQ(half.pixels[3], 183);
}

TEST(ResampleTest, BesideTheImageIsTheColourOfTheCanvas) {
  const RgbImage dot{1, 1, {200, 201, 202}};
  const ResampleAxis axis{.canvas = 3, .offset = 1, .image = 1, .resized = 3, .count = 3};
  const RgbImage whole = Resample(dot, kCanvas, axis, axis);
  for (std::size_t i = 0; i < 9; ++i) {
    const std::uint8_t* pixel = whole.pixels.data() + 3 * i;
    EXPECT_EQ(std::vector<std::uint8_t>(pixel, pixel + 3),
              i == 4 ? dot.pixels : std::vector<std::uint8_t>(kCanvas.begin(), kCanvas.end()))
        << i;
  }
}

}  // namespace
}  // namespace llava::model
