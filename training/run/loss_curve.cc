#include "training/run/loss_curve.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/value_to.hpp>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <opencv2/imgproc.hpp>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/durable_file.h"
#include "base/status_macros.h"
#include "model/image/encode.h"

namespace llava::training {
namespace {

constexpr int kWidth = 960;
constexpr int kHeight = 480;
const cv::Rect kPlot{70, 30, kWidth - 100, kHeight - 80};
constexpr int kLines = 5;  // of the grid, in each direction

// Red, green, blue.
const cv::Scalar kInk(70, 70, 70);
const cv::Scalar kGrid(225, 225, 225);
const cv::Scalar kPale(160, 200, 240);
const cv::Scalar kStrong(20, 90, 180);
const cv::Scalar kStage(220, 120, 120);

struct Point {
  double step;
  double loss;
  std::string stage;
};

std::vector<Point> ReadPoints(const std::string& file) {
  std::vector<Point> points;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    boost::system::error_code error;
    const boost::json::value json = boost::json::parse(line, error);
    if (error || !json.is_object()) continue;          // a line that was cut short
    if (!json.as_object().contains("loss")) continue;  // of a validation
    points.push_back({json.at("total_step").to_number<double>(),
                      json.at("loss").to_number<double>(),
                      boost::json::value_to<std::string>(json.at("stage"))});
  }
  return points;
}

class Curve {
 public:
  explicit Curve(const std::vector<Point>& points)
      : points_(points), image_(kHeight, kWidth, CV_8UC3, cv::Scalar(255, 255, 255)) {
    first_ = points.front().step;
    last_ = std::max(points.back().step, first_ + 1);
    for (const Point& point : points) most_ = std::max(most_, point.loss);
    if (most_ <= 0.0) most_ = 1.0;
  }

  model::RgbImage Draw() {
    DrawGrid();
    DrawStages();
    DrawLine(Losses(), kPale, 1);
    DrawLine(RunningMean(), kStrong, 2);
    return {kWidth, kHeight, {image_.datastart, image_.dataend}};
  }

 private:
  cv::Point Place(double step, double loss) const {
    const double x = (step - first_) / (last_ - first_);
    return {kPlot.x + static_cast<int>(std::lround(x * kPlot.width)),
            kPlot.y + kPlot.height - static_cast<int>(std::lround(loss / most_ * kPlot.height))};
  }

  void Write(const std::string& text, cv::Point place) {
    cv::putText(image_, text, place, cv::FONT_HERSHEY_SIMPLEX, 0.42, kInk, 1, cv::LINE_AA);
  }

  void DrawGrid() {
    for (int i = 0; i <= kLines; ++i) {
      const double loss = most_ * i / kLines;
      const double step = first_ + (last_ - first_) * i / kLines;
      cv::line(image_, Place(first_, loss), Place(last_, loss), kGrid);
      cv::line(image_, Place(step, 0), Place(step, most_), kGrid);
      Write(absl::StrFormat("%.3g", loss), Place(first_, loss) + cv::Point(-58, 4));
      Write(absl::StrFormat("%.0f", step), Place(step, 0) + cv::Point(-12, 20));
    }
    Write("loss", {kPlot.x - 58, 18});
    Write("step", {kPlot.x + kPlot.width / 2 - 12, kHeight - 10});
  }

  void DrawStages() {
    std::string stage;
    for (const Point& point : points_) {
      if (point.stage == stage) continue;
      stage = point.stage;
      cv::line(image_, Place(point.step, 0), Place(point.step, most_), kStage);
      Write(stage, Place(point.step, most_) + cv::Point(4, -6));
    }
  }

  std::vector<double> Losses() const {
    std::vector<double> losses;
    for (const Point& point : points_) losses.push_back(point.loss);
    return losses;
  }

  // Over a fiftieth of the steps, anew in each stage.
  std::vector<double> RunningMean() const {
    const double keep = 1.0 - 1.0 / std::max(1.0, static_cast<double>(points_.size()) / 50.0);
    std::vector<double> means;
    double sum = 0.0;
    double weight = 0.0;
    std::string_view stage;
    for (const Point& point : points_) {
      if (point.stage != stage) sum = weight = 0.0;
      stage = point.stage;
      sum = keep * sum + point.loss;
      weight = keep * weight + 1.0;
      means.push_back(sum / weight);
    }
    return means;
  }

  void DrawLine(const std::vector<double>& values, const cv::Scalar& colour, int thickness) {
    for (std::size_t i = 1; i < values.size(); ++i) {
      if (points_[i].stage != points_[i - 1].stage) continue;
      cv::line(image_, Place(points_[i - 1].step, values[i - 1]), Place(points_[i].step, values[i]),
               colour, thickness, cv::LINE_AA);
    }
  }

  const std::vector<Point>& points_;
  cv::Mat image_;
  double first_ = 0.0;
  double last_ = 1.0;
  double most_ = 0.0;
};

}  // namespace

absl::Status DrawLossCurve(const std::string& metrics_file, const std::string& png_file) {
  const std::vector<Point> points = ReadPoints(metrics_file);
  if (points.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string png, model::EncodePng(Curve(points).Draw()));
  const std::string aside = png_file + ".new";
  const absl::Status written = WriteFile(aside, png);
  return written.ok() ? RenameFile(aside, png_file) : written;
}

}  // namespace llava::training
