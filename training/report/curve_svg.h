// Curves over the steps of a run as one SVG element, to stand in an HTML page.
#ifndef LLAVA_TRAINING_REPORT_CURVE_SVG_H_
#define LLAVA_TRAINING_REPORT_CURVE_SVG_H_

#include <string>
#include <vector>

namespace llava::training {

struct CurvePoint {
  double x = 0.0;
  double y = 0.0;
};

struct Curve {
  std::string name;
  std::string colour;              // as CSS writes it
  std::vector<CurvePoint> points;  // by x
  bool dots = false;               // a mark at each point
};

struct CurveMark {
  double x = 0.0;
  std::string text;  // what begins there
};

// `text` with what HTML would read as its own replaced.
std::string EscapeHtml(const std::string& text);

// The curves in one frame that begins at 0 or below, with a grid, numbers at its sides and the
// names of the curves. Points that are not finite are left out; more than 800 points of a curve are
// drawn as the means of so many groups. "" when there is no point.
std::string CurveSvg(const std::string& title, const std::vector<Curve>& curves,
                     const std::vector<CurveMark>& marks);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_REPORT_CURVE_SVG_H_
