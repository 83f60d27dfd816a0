#include "training/data/scenes/draw.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "opencv2/imgproc.hpp"
#include "training/data/scenes/free_draw.h"
#include "training/data/scenes/ground.h"

namespace llava::training::scenes {
namespace {

constexpr int kScale = 4;  // drawn larger and scaled down, for smooth edges
constexpr int kCanvas = kPictureSize * kScale;

// Blue, green, red: OpenCV's order.
constexpr std::array<std::array<int, 3>, kGrey> kBgr = {
    {{35, 35, 215}, {50, 165, 40}, {220, 85, 35}, {30, 215, 240}, {165, 45, 140}}};

double Jitter(Rng& rng, double most) { return (2 * rng.Uniform() - 1) * most; }

cv::Scalar Vary(Rng& rng, double b, double g, double r, double most) {
  const auto clip = [](double value) { return std::clamp(value, 0.0, 255.0); };
  return {clip(b + Jitter(rng, most)), clip(g + Jitter(rng, most)), clip(r + Jitter(rng, most))};
}

struct Background {
  cv::Mat canvas;
  double luminance;  // about, of the whole
};

// Greyish, so that no background is one of the colours: plain, a gradient, stripes or blobs.
Background DrawBackground(Rng& rng) {
  const double grey = rng.Chance(0.3) ? (rng.Chance(0.6) ? 250 : 8) : 20 + rng.Uniform() * 220;
  const cv::Scalar first = Vary(rng, grey, grey, grey, 9);
  const double other = grey + Jitter(rng, 25);
  const cv::Scalar second = Vary(rng, other, other, other, 9);
  cv::Mat canvas(kCanvas, kCanvas, CV_8UC3, first);
  const auto kind = rng.Below(5);
  if (kind == 1 || kind == 2) {
    for (int i = 0; i < kCanvas; ++i) {
      const double share = static_cast<double>(i) / kCanvas;
      const cv::Rect line = kind == 1 ? cv::Rect(0, i, kCanvas, 1) : cv::Rect(i, 0, 1, kCanvas);
      canvas(line).setTo(first * (1 - share) + second * share);
    }
  } else if (kind == 3) {
    const int width = static_cast<int>(rng.Between(20, 70));
    const bool across = rng.Chance(0.5);
    for (int i = 0; i < kCanvas; i += 2 * width) {
      const int end = std::min(width, kCanvas - i);
      canvas(across ? cv::Rect(0, i, kCanvas, end) : cv::Rect(i, 0, end, kCanvas)).setTo(second);
    }
  } else if (kind == 4) {
    for (int i = 0; i < 12; ++i) {
      const cv::Point centre(static_cast<int>(rng.Below(kCanvas)),
                             static_cast<int>(rng.Below(kCanvas)));
      cv::circle(canvas, centre, static_cast<int>(rng.Between(15, 80)), second, cv::FILLED);
    }
    cv::GaussianBlur(canvas, canvas, cv::Size(0, 0), 12);
  }
  return {canvas, Luminance(first)};
}

// The outline of a shape around the origin with the given radius.
std::vector<cv::Point2d> Outline(int shape, double radius) {
  std::vector<cv::Point2d> points;
  if (kShapes[static_cast<std::size_t>(shape)] == "circle") {
    for (int i = 0; i < 64; ++i) {
      points.emplace_back(radius * std::cos(i * M_PI / 32), radius * std::sin(i * M_PI / 32));
    }
  } else if (kShapes[static_cast<std::size_t>(shape)] == "square") {
    const double side = radius * 0.9;
    points = {{-side, -side}, {side, -side}, {side, side}, {-side, side}};
  } else if (kShapes[static_cast<std::size_t>(shape)] == "triangle") {
    points = {{0, -radius}, {radius, 0.9 * radius}, {-radius, 0.9 * radius}};
  } else {
    const double thick = radius * 0.33;
    points = {{-thick, -radius}, {thick, -radius}, {thick, -thick},   {radius, -thick},
              {radius, thick},   {thick, thick},   {thick, radius},   {-thick, radius},
              {-thick, thick},   {-radius, thick}, {-radius, -thick}, {-thick, -thick}};
  }
  return points;
}

// Canvas and label masks that everything is drawn on, all kCanvas wide.
struct Layers {
  cv::Mat canvas;
  cv::Mat what = cv::Mat::zeros(kCanvas, kCanvas, CV_8UC1);
  cv::Mat colour = cv::Mat::zeros(kCanvas, kCanvas, CV_8UC1);
  cv::Mat size = cv::Mat::zeros(kCanvas, kCanvas, CV_8UC1);
};

Box ToBox(const cv::Rect& rect) {
  const auto share = [](int value) {
    return std::clamp(static_cast<double>(value) / kCanvas, 0.0, 1.0);
  };
  return {share(rect.x), share(rect.y), share(rect.x + rect.width), share(rect.y + rect.height)};
}

Box DrawObject(Rng& rng, const Object& object, Layers* layers) {
  const bool big = kSizes[static_cast<std::size_t>(object.size)] == "big";
  const double radius = (big ? 11.5 + rng.Uniform() * 2 : 6.5 + rng.Uniform() * 1.5) * kScale;
  const double play = (big ? 2 : 5) * kScale;
  const cv::Point2d centre((object.column() + 0.5) * kCell * kScale + Jitter(rng, play),
                           (object.row() + 0.5) * kCell * kScale + Jitter(rng, play));
  const double angle = Jitter(rng, 10 * M_PI / 180);
  std::vector<cv::Point> points;
  for (const cv::Point2d& p : Outline(object.shape, radius)) {
    points.emplace_back(cv::Point2d(centre.x + p.x * std::cos(angle) - p.y * std::sin(angle),
                                    centre.y + p.x * std::sin(angle) + p.y * std::cos(angle)));
  }
  const auto& bgr = kBgr[static_cast<std::size_t>(object.colour)];
  cv::fillPoly(layers->canvas, points, Vary(rng, bgr[0], bgr[1], bgr[2], 22));
  if (rng.Chance(0.25)) {
    cv::polylines(layers->canvas, points, true,
                  rng.Chance(0.7) ? cv::Scalar::all(15) : cv::Scalar::all(245), kScale);
  }
  cv::fillPoly(layers->what, points, cv::Scalar(1 + object.shape));
  cv::fillPoly(layers->colour, points, cv::Scalar(1 + object.colour));
  cv::fillPoly(layers->size, points, cv::Scalar(1 + object.size));
  return ToBox(cv::boundingRect(points));
}

Box DrawText(Rng& rng, const Text& text, double background, Layers* layers) {
  constexpr std::array<int, 4> kFonts = {cv::FONT_HERSHEY_SIMPLEX, cv::FONT_HERSHEY_DUPLEX,
                                         cv::FONT_HERSHEY_COMPLEX, cv::FONT_HERSHEY_TRIPLEX};
  const int font = kFonts[rng.Below(kFonts.size())];
  const int thickness = static_cast<int>(rng.Between(9, 13));
  int baseline = 0;
  const cv::Size unit = cv::getTextSize(text.value, font, 1.0, 1, &baseline);
  const double fit =
      std::min((text.is_digit() ? 26.0 : 84.0) * kScale / unit.width, 24.0 * kScale / unit.height);
  const double scale = fit * (0.85 + 0.15 * rng.Uniform());
  const cv::Size size = cv::getTextSize(text.value, font, scale, thickness, &baseline);
  const int row = text.cell / 3;
  const cv::Point2d centre((text.cell % 3 + 0.5) * kCell * kScale + Jitter(rng, 2 * kScale),
                           (row + 0.5) * kCell * kScale + Jitter(rng, 2 * kScale));
  const cv::Point origin(static_cast<int>(centre.x) - size.width / 2,
                         static_cast<int>(centre.y) + size.height / 2);
  const bool dark = background > 165 || (background > 90 && rng.Chance(0.5));
  const cv::Scalar ink = cv::Scalar::all(dark ? rng.Uniform() * 20 : 255 - rng.Uniform() * 20);
  cv::putText(layers->canvas, text.value, origin, font, scale, ink, thickness, cv::LINE_AA);
  const cv::Rect box(origin.x, origin.y - size.height, size.width, size.height);
  layers->what(box & cv::Rect(0, 0, kCanvas, kCanvas)).setTo(WhatClass(text));
  return ToBox(box);
}

cv::Mat AddNoise(Rng& rng, const cv::Mat& picture) {
  const double sigma = rng.Chance(0.2) ? 0 : rng.Uniform() * 12;
  cv::Mat noisy = picture.clone();
  for (int y = 0; y < noisy.rows; ++y) {
    auto* row = noisy.ptr<std::uint8_t>(y);
    for (int x = 0; x < noisy.cols * 3; ++x) {
      row[x] = cv::saturate_cast<std::uint8_t>(row[x] + sigma * rng.Normal());
    }
  }
  return noisy;
}

std::vector<std::uint8_t> Bytes(const cv::Mat& mat) {
  LLAVA_CHECK(mat.isContinuous());
  return {mat.data, mat.data + mat.total() * mat.elemSize()};
}

}  // namespace

int WhatClass(const Text& text) {
  if (text.is_digit()) return kDigitClass + (text.value[0] - '0');
  const auto word = std::find(kWords.begin(), kWords.end(), text.value);
  return kWordClass + static_cast<int>(word - kWords.begin());
}

Picture Draw(const Scene& scene) {
  if (scene.is_free) return DrawFree(scene);
  Rng rng(scene.style_seed);
  const Background background = DrawBackground(rng);
  Layers layers{background.canvas};
  Picture picture;
  picture.width = picture.height = kPictureSize;
  for (const Object& object : scene.objects) {
    picture.boxes.push_back(DrawObject(rng, object, &layers));
  }
  if (scene.text) {
    picture.boxes.push_back(DrawText(rng, *scene.text, background.luminance, &layers));
  }
  for (const Box& box : picture.boxes) {
    picture.middles.push_back({(box[0] + box[2]) / 2, (box[1] + box[3]) / 2});
  }
  const auto shrink = [](const cv::Mat& layer, int interpolation) {
    cv::Mat small;
    cv::resize(layer, small, cv::Size(kPictureSize, kPictureSize), 0, 0, interpolation);
    return small;
  };
  picture.bgr = Bytes(AddNoise(rng, shrink(layers.canvas, cv::INTER_AREA)));
  picture.what = Bytes(shrink(layers.what, cv::INTER_NEAREST));
  picture.colour = Bytes(shrink(layers.colour, cv::INTER_NEAREST));
  picture.size = Bytes(shrink(layers.size, cv::INTER_NEAREST));
  return picture;
}

}  // namespace llava::training::scenes
