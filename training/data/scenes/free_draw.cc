#include "training/data/scenes/free_draw.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "opencv2/imgproc.hpp"
#include "training/data/scenes/ground.h"

namespace llava::training::scenes {
namespace {

// What stands on a ground must differ from it by this much, or it could not be asked about:
// the distance of the two colours, the channels weighted as eyes do.
constexpr double kLeastContrast = 75.0;

double Contrast(const cv::Scalar& a, const cv::Scalar& b) {
  const double blue = a[0] - b[0], green = a[1] - b[1], red = a[2] - b[2];
  return std::sqrt(0.8 * blue * blue + 1.6 * green * green + red * red);
}

struct Hues {
  double low, high, least_saturation, least_value, most_value;
};

// As wide as people use the names: from dark to bright and from dull to pure.
constexpr std::array<Hues, kGrey> kHues = {{{-12, 10, 0.72, 0.55, 1.0},
                                            {88, 150, 0.5, 0.35, 0.95},
                                            {206, 246, 0.6, 0.5, 1.0},
                                            {46, 62, 0.65, 0.82, 1.0},
                                            {268, 308, 0.45, 0.42, 0.92}}};

cv::Scalar ColourOf(Rng& rng, int colour) {
  if (colour == kGrey) return cv::Scalar::all(Between(rng, 0, 255));
  const Hues& hues = kHues[static_cast<std::size_t>(colour)];
  // Many programs draw the pure colour.
  const double saturation = rng.Chance(0.35) ? 1.0 : Between(rng, hues.least_saturation, 1.0);
  return BgrOfHsv(Between(rng, hues.low, hues.high), saturation,
                  Between(rng, hues.least_value, hues.most_value));
}

// One that can be told from `ground`; of many tries the farthest where none is far enough.
cv::Scalar ColourOn(Rng& rng, int colour, const cv::Scalar& ground) {
  cv::Scalar best;
  double most = -1.0;
  for (int i = 0; i < 12; ++i) {
    const cv::Scalar candidate = ColourOf(rng, colour);
    const double contrast = Contrast(candidate, ground);
    if (contrast > most) {
      most = contrast;
      best = candidate;
    }
    if (most >= kLeastContrast) break;
  }
  return best;
}

using Points = std::vector<cv::Point2d>;

Points Circle() {
  Points points;
  for (int i = 0; i < 64; ++i)
    points.emplace_back(std::cos(i * M_PI / 32), std::sin(i * M_PI / 32));
  return points;
}

Points Triangle(Rng& rng) {
  const double apex = rng.Chance(0.7) ? 0.0 : Between(rng, -0.7, 0.7);
  const double height = Between(rng, 0.75, 1.0);
  return {{apex, -height}, {1.0, height}, {-1.0, height}};
}

Points Cross(Rng& rng) {
  const double t = Between(rng, 0.16, 0.38);
  return {{-t, -1}, {t, -1}, {t, -t}, {1, -t}, {1, t},   {t, t},
          {t, 1},   {-t, 1}, {-t, t}, {-1, t}, {-1, -t}, {-t, -t}};
}

// Around the origin, within the square from -1 to 1 before it is turned.
Points Outline(Rng& rng, int shape) {
  Points points;
  double most = 18;  // degrees that it is turned, either way
  switch (shape) {
    case 0:
      return Circle();
    case 1:
      points = {{-1, -1}, {1, -1}, {1, 1}, {-1, 1}};
      break;
    case 2:
      points = Triangle(rng);
      most = rng.Chance(0.65) ? 15 : 180;
      break;
    default:
      points = Cross(rng);
      most = rng.Chance(0.88) ? 18 : 45;
  }
  const double angle = rng.Chance(0.35) ? 0.0 : Between(rng, -most, most) * M_PI / 180;
  for (cv::Point2d& p : points) {
    p = {p.x * std::cos(angle) - p.y * std::sin(angle),
         p.x * std::sin(angle) + p.y * std::cos(angle)};
  }
  return points;
}

class Painter {
 public:
  Painter(Rng& rng, const Scene& scene) : rng_(rng), scene_(scene) {
    const double shorter = std::round(std::exp2(Between(rng, std::log2(72), std::log2(176))));
    width_ = static_cast<int>(std::round(shorter * std::max(1.0, scene.aspect)));
    height_ = static_cast<int>(std::round(shorter / std::min(1.0, scene.aspect)));
    scale_ = rng.Chance(0.75) ? 2 : 1;  // drawn larger and shrunk, for smooth edges
    smooth_ = scale_ > 1 || rng.Chance(0.5);
    canvas_ = MakeGround(rng, cv::Size(width_ * scale_, height_ * scale_), scale_);
    outlined_ = rng.Chance(0.2);
    for (cv::Mat* mask : {&what_, &colour_, &size_})
      *mask = cv::Mat::zeros(canvas_.size(), CV_8UC1);
  }

  Picture Paint() {
    for (const Object& object : scene_.objects) {
      PaintObject(object);
      picture_.middles.push_back({object.x, object.y});
    }
    if (scene_.text) {
      PaintText(*scene_.text);
      picture_.middles.push_back({scene_.text->x, scene_.text->y});
    }
    return Finish();
  }

 private:
  double shorter() const { return std::min(canvas_.cols, canvas_.rows); }
  cv::Rect whole() const { return {0, 0, canvas_.cols, canvas_.rows}; }

  void AddBox(const cv::Rect& rect) {
    const auto share = [](int value, int of) {
      return std::clamp(static_cast<double>(value) / of, 0.0, 1.0);
    };
    picture_.boxes.push_back({share(rect.x, canvas_.cols), share(rect.y, canvas_.rows),
                              share(rect.x + rect.width, canvas_.cols),
                              share(rect.y + rect.height, canvas_.rows)});
  }

  cv::Scalar MeanIn(const cv::Rect& rect) const {
    const cv::Rect inside = rect & whole();
    return inside.empty() ? cv::Scalar() : cv::mean(canvas_(inside));
  }

  void PaintObject(const Object& object) {
    const double radius = object.extent / 2 * shorter();
    const cv::Point2d centre(object.x * canvas_.cols, object.y * canvas_.rows);
    std::vector<cv::Point> points;
    for (const cv::Point2d& p : Outline(rng_, object.shape))
      points.emplace_back(centre + radius * p);
    const cv::Rect box = cv::boundingRect(points);
    const cv::Scalar colour = ColourOn(rng_, object.colour, MeanIn(box));
    const int line = smooth_ ? cv::LINE_AA : cv::LINE_8;
    cv::fillPoly(canvas_, points, colour, line);
    if (outlined_) PaintOutline(points, colour, radius, line);
    cv::fillPoly(what_, points, cv::Scalar(1 + object.shape));
    cv::fillPoly(colour_, points, cv::Scalar(1 + object.colour));
    cv::fillPoly(size_, points, cv::Scalar(1 + object.size));
    AddBox(box);
  }

  // Black, white or the darker colour.
  void PaintOutline(const std::vector<cv::Point>& points, const cv::Scalar& colour, double radius,
                    int line) {
    const int thickness = std::max(1, static_cast<int>(radius * Between(rng_, 0.05, 0.16)));
    const auto kind = rng_.Below(3);
    const cv::Scalar ink =
        kind == 0 ? cv::Scalar::all(10) : (kind == 1 ? cv::Scalar::all(245) : colour * 0.5);
    cv::polylines(canvas_, points, true, ink, thickness, line);
  }

  // A mask of the letters alone, stretched and slanted a little, with the height and about the
  // widths of printed ones.
  cv::Mat Letters(const Text& text) {
    constexpr std::array<int, 7> kFonts = {cv::FONT_HERSHEY_SIMPLEX, cv::FONT_HERSHEY_SIMPLEX,
                                           cv::FONT_HERSHEY_SIMPLEX, cv::FONT_HERSHEY_DUPLEX,
                                           cv::FONT_HERSHEY_COMPLEX, cv::FONT_HERSHEY_TRIPLEX,
                                           cv::FONT_HERSHEY_PLAIN};
    const int font = kFonts[rng_.Below(kFonts.size())];
    int baseline = 0;
    const cv::Size unit = cv::getTextSize(text.value, font, 1.0, 1, &baseline);
    const double size = 96.0 / unit.height;
    const int thickness = static_cast<int>(rng_.Between(6, 22));
    const cv::Size drawn = cv::getTextSize(text.value, font, size, thickness, &baseline);
    const int margin = thickness + 4;
    cv::Mat mask = cv::Mat::zeros(drawn.height + 2 * margin, drawn.width + 2 * margin, CV_8UC1);
    cv::putText(mask, text.value, {margin, margin + drawn.height}, font, size, 255, thickness,
                cv::LINE_AA);
    mask = mask(cv::boundingRect(mask)).clone();
    const double slant = rng_.Chance(0.5) ? 0.0 : Between(rng_, -0.18, 0.25);
    const double wider = std::abs(slant) * mask.rows;
    const cv::Mat shear = (cv::Mat_<double>(2, 3) << 1, -slant, slant > 0 ? wider : 0, 0, 1, 0);
    cv::Mat slanted;
    cv::warpAffine(mask, slanted, shear, cv::Size(mask.cols + static_cast<int>(wider), mask.rows));
    return slanted;
  }

  void PaintText(const Text& text) {
    const cv::Mat letters = Letters(text);
    const double most = text.is_digit() ? 1.0 : 2.9;  // widths over the height
    const double height = text.height * shorter();
    const double natural = height * letters.cols / letters.rows * Between(rng_, 0.8, 1.15);
    const cv::Size size(std::max(3, static_cast<int>(std::min(natural, most * height))),
                        std::max(3, static_cast<int>(height)));
    cv::Mat mask;
    cv::resize(letters, mask, size, 0, 0, cv::INTER_AREA);
    const cv::Rect box(static_cast<int>(text.x * canvas_.cols) - size.width / 2,
                       static_cast<int>(text.y * canvas_.rows) - size.height / 2, size.width,
                       size.height);
    const cv::Rect inside = box & whole();
    AddBox(box);
    if (inside.empty()) return;
    Ink(mask(inside - box.tl()), inside, InkOn(MeanIn(box)));
    what_(inside).setTo(WhatClass(text));
    colour_(inside).setTo(0);
    size_(inside).setTo(0);
  }

  // Black or white, whichever shows; rarely a dark colour on a light ground.
  cv::Scalar InkOn(const cv::Scalar& ground) {
    const double light = Luminance(ground);
    const bool dark = light > 150 || (light > 95 && rng_.Chance(0.5));
    if (light > 190 && rng_.Chance(0.15)) return BgrOfHsv(Between(rng_, 0, 360), 0.8, 0.35);
    return cv::Scalar::all(dark ? Between(rng_, 0, 30) : Between(rng_, 225, 255));
  }

  void Ink(const cv::Mat& mask, const cv::Rect& at, const cv::Scalar& ink) {
    cv::Mat target = canvas_(at);
    for (int y = 0; y < mask.rows; ++y) {
      const auto* share = mask.ptr<std::uint8_t>(y);
      auto* to = target.ptr<std::uint8_t>(y);
      for (int x = 0; x < 3 * mask.cols; ++x) {
        to[x] =
            cv::saturate_cast<std::uint8_t>(to[x] + (ink[x % 3] - to[x]) * share[x / 3] / 255.0);
      }
    }
  }

  // To the picture's size, with the blur and the noise of cameras, without colours where the scene
  // has none.
  Picture Finish() {
    cv::Mat picture = canvas_;
    if (scale_ > 1) {
      cv::resize(canvas_, picture, cv::Size(width_, height_), 0, 0, cv::INTER_AREA);
    }
    if (rng_.Chance(0.15))
      cv::GaussianBlur(picture, picture, cv::Size(0, 0), Between(rng_, 0.4, 0.9));
    const bool colourless = !scene_.objects.empty() && scene_.objects[0].colour == kGrey;
    if (colourless) RemoveColours(&picture);
    if (rng_.Chance(0.5)) AddNoise(Between(rng_, 0, 10), &picture);
    const auto bytes = [](const cv::Mat& mat) {
      LLAVA_CHECK(mat.isContinuous());
      return std::vector<std::uint8_t>(mat.data, mat.data + mat.total() * mat.elemSize());
    };
    const auto shrink = [](const cv::Mat& mask) {
      cv::Mat small;
      cv::resize(mask, small, cv::Size(kPictureSize, kPictureSize), 0, 0, cv::INTER_NEAREST);
      return small;
    };
    picture_.width = width_;
    picture_.height = height_;
    picture_.bgr = bytes(picture);
    picture_.what = bytes(shrink(what_));
    picture_.colour = bytes(shrink(colour_));
    picture_.size = bytes(shrink(size_));
    return std::move(picture_);
  }

  static void RemoveColours(cv::Mat* picture) {
    cv::Mat grey;
    cv::cvtColor(*picture, grey, cv::COLOR_BGR2GRAY);
    cv::cvtColor(grey, *picture, cv::COLOR_GRAY2BGR);
  }

  void AddNoise(double sigma, cv::Mat* picture) {
    for (int y = 0; y < picture->rows; ++y) {
      auto* row = picture->ptr<std::uint8_t>(y);
      for (int x = 0; x < picture->cols * 3; ++x) {
        row[x] = cv::saturate_cast<std::uint8_t>(row[x] + sigma * rng_.Normal());
      }
    }
  }

  Rng& rng_;
  const Scene& scene_;
  int width_, height_;  // of the picture, in pixels
  int scale_;           // pixels of the canvas for one of the picture
  bool smooth_, outlined_;
  cv::Mat canvas_, what_, colour_, size_;
  Picture picture_;
};

}  // namespace

Picture DrawFree(const Scene& scene) {
  LLAVA_CHECK(scene.is_free);
  Rng rng(scene.style_seed);
  return Painter(rng, scene).Paint();
}

}  // namespace llava::training::scenes
