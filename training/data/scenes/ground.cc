#include "training/data/scenes/ground.h"

#include <algorithm>
#include <cmath>

#include "opencv2/imgproc.hpp"

namespace llava::training::scenes {
namespace {

cv::Scalar GroundColour(Rng& rng) {
  const double kind = rng.Uniform();
  if (kind < 0.22) return cv::Scalar::all(Between(rng, 240, 255));
  if (kind < 0.32) return cv::Scalar::all(Between(rng, 0, 16));
  if (kind < 0.55) return cv::Scalar::all(Between(rng, 16, 240));
  const double hue = Between(rng, 0, 360);
  if (kind < 0.8) return BgrOfHsv(hue, Between(rng, 0.03, 0.32), Between(rng, 0.72, 1.0));
  if (kind < 0.9) return BgrOfHsv(hue, Between(rng, 0.1, 0.6), Between(rng, 0.08, 0.28));
  return BgrOfHsv(hue, Between(rng, 0.02, 0.2), Between(rng, 0.3, 0.75));
}

// Near `first`, so that what stands on both can be told from both.
cv::Scalar Neighbour(Rng& rng, const cv::Scalar& first) {
  const double shift = Between(rng, -32, 32);
  cv::Scalar second = first;
  for (int c = 0; c < 3; ++c) {
    second[c] = std::clamp(first[c] + shift + Between(rng, -8, 8), 0.0, 255.0);
  }
  return second;
}

// first where `share` is 0, second where it is 1. share: CV_32FC1.
cv::Mat Blend(const cv::Mat& share, const cv::Scalar& first, const cv::Scalar& second) {
  cv::Mat result(share.size(), CV_8UC3);
  for (int y = 0; y < share.rows; ++y) {
    const auto* from = share.ptr<float>(y);
    auto* to = result.ptr<std::uint8_t>(y);
    for (int x = 0; x < share.cols; ++x) {
      for (int c = 0; c < 3; ++c) {
        to[3 * x + c] =
            cv::saturate_cast<std::uint8_t>(first[c] + (second[c] - first[c]) * from[x]);
      }
    }
  }
  return result;
}

cv::Mat Gradient(Rng& rng, cv::Size size) {
  const double angle = Between(rng, 0, 2 * M_PI);
  cv::Mat share(size, CV_32FC1);
  for (int y = 0; y < size.height; ++y) {
    for (int x = 0; x < size.width; ++x) {
      const double along = (static_cast<double>(x) / size.width - 0.5) * std::cos(angle) +
                           (static_cast<double>(y) / size.height - 0.5) * std::sin(angle);
      share.at<float>(y, x) = static_cast<float>(std::clamp(0.5 + along / 1.2, 0.0, 1.0));
    }
  }
  return share;
}

// Stripes at an angle, or a chequerboard.
cv::Mat Pattern(Rng& rng, cv::Size size) {
  const double period = std::min(size.width, size.height) * Between(rng, 0.06, 0.35);
  const double angle =
      rng.Chance(0.6) ? M_PI / 2 * static_cast<double>(rng.Below(2)) : Between(rng, 0, 2 * M_PI);
  const bool chequered = rng.Chance(0.35);
  cv::Mat share(size, CV_32FC1);
  for (int y = 0; y < size.height; ++y) {
    for (int x = 0; x < size.width; ++x) {
      const double along = x * std::cos(angle) + y * std::sin(angle);
      const double across = y * std::cos(angle) - x * std::sin(angle);
      const auto stripe = static_cast<std::int64_t>(std::floor(along / period));
      const auto row = chequered ? static_cast<std::int64_t>(std::floor(across / period)) : 0;
      share.at<float>(y, x) = static_cast<float>((stripe + row) & 1);
    }
  }
  return share;
}

// Value noise: random grids of falling size and weight, each stretched smoothly over the picture.
cv::Mat Noise(Rng& rng, cv::Size size) {
  cv::Mat sum = cv::Mat::zeros(size, CV_32FC1);
  double weight = 1.0;
  double total = 0.0;
  const double persistence = Between(rng, 0.35, 0.75);
  for (int cells = 2; cells <= 32; cells *= 2) {
    cv::Mat grid(cells, cells, CV_32FC1);
    for (int i = 0; i < cells * cells; ++i) {
      grid.at<float>(i / cells, i % cells) = static_cast<float>(rng.Uniform());
    }
    cv::Mat stretched;
    cv::resize(grid, stretched, size, 0, 0, cv::INTER_CUBIC);
    sum += stretched * weight;
    total += weight;
    weight *= persistence;
  }
  return sum / total;
}

cv::Mat Blotches(Rng& rng, cv::Size size) {
  cv::Mat share = cv::Mat::zeros(size, CV_32FC1);
  const int shorter = std::min(size.width, size.height);
  for (int i = 0; i < 12; ++i) {
    const cv::Point centre(static_cast<int>(rng.Below(static_cast<std::uint64_t>(size.width))),
                           static_cast<int>(rng.Below(static_cast<std::uint64_t>(size.height))));
    const int radius = std::max(1, static_cast<int>(shorter * Between(rng, 0.04, 0.2)));
    cv::circle(share, centre, radius, cv::Scalar(1.0), cv::FILLED);
  }
  if (rng.Chance(0.7)) cv::GaussianBlur(share, share, cv::Size(0, 0), shorter * 0.03);
  return share;
}

}  // namespace

double Between(Rng& rng, double low, double high) { return low + (high - low) * rng.Uniform(); }

double Luminance(const cv::Scalar& bgr) { return 0.114 * bgr[0] + 0.587 * bgr[1] + 0.299 * bgr[2]; }

cv::Scalar BgrOfHsv(double hue, double saturation, double value) {
  const double sector = std::fmod(hue + 360.0, 360.0) / 60.0;
  const auto channel = [&](double shift) {
    const double k = std::fmod(shift + sector, 6.0);
    const double fall = std::clamp(std::min(k, 4.0 - k), 0.0, 1.0);
    return 255.0 * (value - value * saturation * fall);
  };
  return {channel(1.0), channel(3.0), channel(5.0)};
}

cv::Mat MakeGround(Rng& rng, cv::Size size, double scale) {
  const cv::Scalar first = GroundColour(rng);
  const double kind = rng.Uniform();
  if (kind < 0.45) return cv::Mat(size, CV_8UC3, first);
  const cv::Scalar second = Neighbour(rng, first);
  if (kind < 0.57) return Blend(Gradient(rng, size), first, second);
  if (kind < 0.67) return Blend(Pattern(rng, size), first, second);
  if (kind < 0.75) return Blend(Blotches(rng, size), first, second);
  cv::Mat ground = Blend(Noise(rng, size), Neighbour(rng, first), Neighbour(rng, second));
  if (rng.Chance(0.5)) cv::GaussianBlur(ground, ground, cv::Size(0, 0), 2 * scale);
  return ground;
}

}  // namespace llava::training::scenes
