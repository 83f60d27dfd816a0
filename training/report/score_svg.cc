#include "training/report/score_svg.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "training/report/curve_svg.h"

namespace llava::training {
namespace {

constexpr std::array<const char*, 4> kColours = {"#1f77b4", "#999999", "#2ca02c", "#d62728"};
constexpr char kTotal[] = "total";
constexpr double kWidth = 720;
constexpr double kLeft = 190;   // of the bars: the kinds' names stand before them
constexpr double kRight = 60;   // the numbers stand behind them
constexpr double kTop = 36;     // the title
constexpr double kBar = 12;     // the height of one
constexpr double kBetween = 8;  // groups
constexpr double kLegendLine = 18;

std::string Text(double x, double y, const char* anchor, const std::string& text) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>", x, y, anchor,
                         EscapeHtml(text));
}

std::string Box(double x, double y, double width, const char* colour) {
  return absl::StrFormat("<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>",
                         x, y, width, kBar - 2, colour);
}

std::vector<std::string> KindsOf(const ScoredModel& model) {
  std::vector<std::string> kinds;
  for (const auto& [kind, score] : model.scores) kinds.push_back(kind);
  std::stable_partition(kinds.begin(), kinds.end(),
                        [](const std::string& kind) { return kind == kTotal; });
  return kinds;
}

// The bars' scale: the longest is as long as there is room.
double Longest(const std::vector<ScoredModel>& models) {
  double longest = 0;
  for (const ScoredModel& model : models) {
    for (const auto& [kind, score] : model.scores) longest = std::max(longest, score);
  }
  return longest > 0 ? longest : 1;
}

}  // namespace

std::string ScoreSvg(const std::string& title, double unit,
                     const std::vector<ScoredModel>& models) {
  LLAVA_CHECK(!models.empty() && models.size() <= kColours.size());
  const double scale = (kWidth - kLeft - kRight) / Longest(models);
  std::string body = Text(kWidth / 2, kTop / 2, "middle", title);
  double y = kTop;
  for (const std::string& kind : KindsOf(models.front())) {
    absl::StrAppend(&body, Text(kLeft - 8, y + kBar - 3, "end", kind));
    for (std::size_t i = 0; i < models.size(); ++i) {
      const auto found = models[i].scores.find(kind);
      if (found == models[i].scores.end()) continue;
      const double width = found->second * scale;
      absl::StrAppend(&body, Box(kLeft, y, width, kColours[i]),
                      Text(kLeft + width + 4, y + kBar - 3, "start",
                           absl::StrFormat("%.2f", unit * found->second)));
      y += kBar;
    }
    y += kBetween;
  }
  for (std::size_t i = 0; i < models.size(); ++i, y += kLegendLine) {
    absl::StrAppend(&body, Box(kLeft, y, kBar, kColours[i]),
                    Text(kLeft + 2 * kBar, y + kBar - 3, "start", models[i].name));
  }
  return absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" "
      "font-family=\"sans-serif\" font-size=\"11\">"
      "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>%s</svg>\n",
      kWidth, y, body);
}

}  // namespace llava::training
