#include "training/report/curve_svg.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace llava::training {
namespace {

constexpr double kWidth = 720;
constexpr double kHeight = 240;
constexpr double kLeft = 64;
constexpr double kRight = 12;
constexpr double kTop = 34;
constexpr double kBottom = 26;
constexpr int kLines = 4;  // of the grid, in each direction
constexpr std::size_t kMostPoints = 800;

std::vector<CurvePoint> Thin(const std::vector<CurvePoint>& points) {
  std::vector<CurvePoint> finite;
  std::copy_if(points.begin(), points.end(), std::back_inserter(finite),
               [](const CurvePoint& p) { return std::isfinite(p.x) && std::isfinite(p.y); });
  if (finite.size() <= kMostPoints) return finite;
  std::vector<CurvePoint> means(kMostPoints);
  std::vector<double> counts(kMostPoints, 0.0);
  for (std::size_t i = 0; i < finite.size(); ++i) {
    const std::size_t group = i * kMostPoints / finite.size();
    means[group].x += finite[i].x;
    means[group].y += finite[i].y;
    counts[group] += 1.0;
  }
  for (std::size_t i = 0; i < kMostPoints; ++i) {
    means[i].x /= counts[i];
    means[i].y /= counts[i];
  }
  return means;
}

// From values to places in the picture.
struct Frame {
  double first = 0.0;
  double last = 1.0;
  double low = 0.0;
  double high = 0.0;

  double X(double x) const {
    return kLeft + (x - first) / (last - first) * (kWidth - kLeft - kRight);
  }
  double Y(double y) const {
    return kHeight - kBottom - (y - low) / (high - low) * (kHeight - kTop - kBottom);
  }
};

Frame FrameOf(const std::vector<Curve>& curves) {
  Frame frame;
  bool any = false;
  for (const Curve& curve : curves) {
    for (const CurvePoint& point : curve.points) {
      frame.first = any ? std::min(frame.first, point.x) : point.x;
      frame.last = any ? std::max(frame.last, point.x) : point.x;
      frame.low = std::min(frame.low, point.y);
      frame.high = std::max(frame.high, point.y);
      any = true;
    }
  }
  if (frame.last <= frame.first) frame.last = frame.first + 1.0;
  if (frame.high <= frame.low) frame.high = frame.low + 1.0;
  return frame;
}

std::string Label(double x, double y, const char* anchor, const std::string& text) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>", x, y, anchor,
                         EscapeHtml(text));
}

std::string Line(double x1, double y1, double x2, double y2, const char* colour) {
  return absl::StrFormat("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>",
                         x1, y1, x2, y2, colour);
}

std::string Grid(const Frame& frame) {
  std::string svg;
  for (int i = 0; i <= kLines; ++i) {
    const double x = frame.first + (frame.last - frame.first) * i / kLines;
    const double y = frame.low + (frame.high - frame.low) * i / kLines;
    absl::StrAppend(
        &svg, Line(frame.X(x), kTop, frame.X(x), kHeight - kBottom, "#e4e4e4"),
        Line(kLeft, frame.Y(y), kWidth - kRight, frame.Y(y), "#e4e4e4"),
        Label(kLeft - 6, frame.Y(y) + 4, "end", absl::StrFormat("%.3g", y)),
        Label(frame.X(x), kHeight - 8, i == kLines ? "end" : "middle", absl::StrFormat("%.0f", x)));
  }
  return svg;
}

std::string Drawn(const Curve& curve, const Frame& frame) {
  std::string path;
  std::string dots;
  for (const CurvePoint& point : curve.points) {
    const double x = frame.X(point.x), y = frame.Y(point.y);
    absl::StrAppendFormat(&path, "%s%.1f,%.1f", path.empty() ? "" : " ", x, y);
    if (!curve.dots) continue;
    absl::StrAppendFormat(&dots, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>", x, y,
                          curve.colour);
  }
  return absl::StrFormat(
      "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\"/>%s", path,
      curve.colour, dots);
}

}  // namespace

std::string EscapeHtml(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

std::string CurveSvg(const std::string& title, const std::vector<Curve>& curves,
                     const std::vector<CurveMark>& marks) {
  std::vector<Curve> thin;
  for (const Curve& curve : curves) {
    thin.push_back({curve.name, curve.colour, Thin(curve.points), curve.dots});
    if (thin.back().points.empty()) thin.pop_back();
  }
  if (thin.empty()) return "";
  const Frame frame = FrameOf(thin);
  std::string svg =
      absl::StrFormat("<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">", kWidth,
                      kHeight, EscapeHtml(title));
  absl::StrAppend(&svg, Grid(frame));
  for (const CurveMark& mark : marks) {
    if (mark.x < frame.first || mark.x > frame.last) continue;
    absl::StrAppend(&svg,
                    Line(frame.X(mark.x), kTop, frame.X(mark.x), kHeight - kBottom, "#dc7878"),
                    Label(frame.X(mark.x) + 4, kTop + 12, "start", mark.text));
  }
  double x = kLeft;
  for (const Curve& curve : thin) {
    absl::StrAppend(&svg, Drawn(curve, frame));
    absl::StrAppendFormat(&svg,
                          "<rect x=\"%.1f\" y=\"14\" width=\"10\" height=\"10\" fill=\"%s\"/>", x,
                          curve.colour);
    absl::StrAppend(&svg, Label(x + 14, 23, "start", curve.name));
    x += 40 + 7 * static_cast<double>(curve.name.size());
  }
  return absl::StrCat(svg, "</svg>");
}

}  // namespace llava::training
