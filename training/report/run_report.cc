#include "training/report/run_report.h"

#include <algorithm>
#include <opencv2/imgproc.hpp>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/durable_file.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "model/image/encode.h"
#include "model/image/image.h"
#include "training/data/tar/picture_file.h"
#include "training/report/curve_svg.h"

namespace llava::training {
namespace {

constexpr int kThumbSide = 160;
constexpr int kThumbQuality = 80;
constexpr char kBlue[] = "#145ab4";
constexpr char kPale[] = "#a0c8f0";
constexpr char kRed[] = "#c03c28";

constexpr char kHead[] = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto;
 padding: 0 1rem }
svg { width: 100%; height: auto; font: 11px system-ui, sans-serif; fill: #444; margin: .3rem 0 }
table { border-collapse: collapse } td, th { text-align: left; padding: .15rem 1rem .15rem 0;
 vertical-align: top }
.sample { display: flex; gap: 1rem; border-top: 1px solid #ddd; padding: .7rem 0 }
.sample img { max-width: 160px; max-height: 160px; display: block; margin-bottom: .3rem }
.sample dl { margin: 0 } dt { color: #777; font-size: .85em }
dd { margin: 0 0 .35rem; white-space: pre-wrap; overflow-wrap: anywhere }
.right { color: #1b7a34 } .wrong { color: #c03c28 }
</style>
)";

std::vector<CurvePoint> PointsOf(const std::vector<HistoryPoint>& points, const char* key) {
  std::vector<CurvePoint> values;
  for (const HistoryPoint& point : points) {
    const auto found = point.values.find(key);
    if (found != point.values.end()) values.push_back({point.step, found->second});
  }
  return values;
}

// Over a fiftieth of the steps, so that a trend shows through the noise of single batches.
std::vector<CurvePoint> RunningMean(const std::vector<CurvePoint>& points) {
  const double keep = 1.0 - 1.0 / std::max(1.0, static_cast<double>(points.size()) / 50.0);
  std::vector<CurvePoint> means;
  double sum = 0.0, weight = 0.0;
  for (const CurvePoint& point : points) {
    sum = keep * sum + point.y;
    weight = keep * weight + 1.0;
    means.push_back({point.x, sum / weight});
  }
  return means;
}

std::vector<CurveMark> StagesOf(const RunHistory& history) {
  std::vector<CurveMark> marks;
  std::string stage;
  for (const HistoryPoint& point : history.steps) {
    if (point.stage != stage) marks.push_back({point.step, point.stage});
    stage = point.stage;
  }
  return marks;
}

std::string Curves(const RunHistory& history) {
  const std::vector<CurveMark> marks = StagesOf(history);
  const auto of_steps = [&](const char* key) { return PointsOf(history.steps, key); };
  const auto of_validations = [&](const char* key) { return PointsOf(history.validations, key); };
  std::string html;
  const auto add = [&](const char* title, const std::vector<Curve>& curves) {
    const std::string svg = CurveSvg(title, curves, marks);
    if (!svg.empty()) absl::StrAppend(&html, "<h2>", title, "</h2>\n", svg, "\n");
  };
  add("Loss", {{"each step", kPale, of_steps("loss")},
               {"running mean", kBlue, RunningMean(of_steps("loss"))},
               {"validation", kRed, of_validations("validation_loss"), true}});
  add("Next-token accuracy", {{"running mean", kBlue, RunningMean(of_steps("accuracy"))},
                              {"validation", kRed, of_validations("validation_accuracy"), true}});
  add("Learning rate", {{"rate", kBlue, of_steps("rate")}});
  add("Gradient norm", {{"before clipping", kBlue, of_steps("grad_norm")}});
  add("Share of the time waiting for data", {{"share", kBlue, of_steps("data_wait_share")}});
  add("Share of padding", {{"share", kBlue, of_steps("padding_share")}});
  add("Tokens a second", {{"tokens", kBlue, of_steps("tokens_per_second")}});
  return html;
}

std::string Summary(const RunHistory& history) {
  const HistoryPoint& last = history.steps.back();
  std::string rows;
  const auto add = [&](const char* name, const std::string& value) {
    absl::StrAppend(&rows, "<tr><th>", name, "</th><td>", EscapeHtml(value), "</td></tr>\n");
  };
  const auto number = [](const HistoryPoint& point, const char* key) {
    const auto found = point.values.find(key);
    return found == point.values.end() ? std::string("unknown")
                                       : absl::StrFormat("%.5g", found->second);
  };
  add("Last step",
      absl::StrCat(number(last, "step"), " of ", number(last, "stage_steps"), " in stage ",
                   last.stage, ", ", number(last, "total_step"), " in all"));
  add("Loss", number(last, "loss"));
  if (!history.validations.empty()) {
    const auto least =
        std::min_element(history.validations.begin(), history.validations.end(),
                         [](const HistoryPoint& a, const HistoryPoint& b) {
                           return a.values.at("validation_loss") < b.values.at("validation_loss");
                         });
    add("Least validation loss", absl::StrCat(number(*least, "validation_loss"), " after step ",
                                              number(*least, "step"), " of stage ", least->stage));
  }
  return absl::StrCat("<table>\n", rows, "</table>\n");
}

absl::StatusOr<std::string> Thumbnail(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadPictureFile(path, model::ImageLimits().max_bytes));
  ASSIGN_OR_RETURN(model::RgbImage image, model::DecodeImage(bytes));
  const double scale =
      std::min(1.0, static_cast<double>(kThumbSide) / std::max(image.width, image.height));
  const cv::Mat whole(image.height, image.width, CV_8UC3, image.pixels.data());
  const cv::Size size(std::max(1, static_cast<int>(image.width * scale)),
                      std::max(1, static_cast<int>(image.height * scale)));
  cv::Mat small;
  cv::resize(whole, small, size, 0, 0, cv::INTER_AREA);
  const model::RgbImage thumb{small.cols, small.rows, {small.datastart, small.dataend}};
  ASSIGN_OR_RETURN(const std::string jpeg, model::EncodeJpeg(thumb, kThumbQuality));
  return absl::StrCat("data:image/jpeg;base64,", absl::Base64Escape(jpeg));
}

std::string Picture(const std::string& path) {
  const auto uri = Thumbnail(path);
  if (uri.ok()) return absl::StrCat("<img alt=\"\" src=\"", *uri, "\">");
  return absl::StrCat("<p>", EscapeHtml(path), " cannot be read</p>");
}

std::string SampleHtml(const HistorySample& sample) {
  std::string pictures;
  for (const std::string& image : sample.images) absl::StrAppend(&pictures, Picture(image));
  const auto entry = [](const char* name, const std::string& text) {
    return absl::StrCat("<dt>", name, "</dt><dd>", EscapeHtml(Utf8Repair(text)), "</dd>");
  };
  return absl::StrCat("<div class=\"sample\"><div>", pictures, "</div><dl>",
                      entry("question", sample.question), entry("expected", sample.expected),
                      entry("answer", sample.answer), "<dt>judged</dt><dd class=\"",
                      sample.right ? "right\">right" : "wrong\">wrong", "</dd></dl></div>\n");
}

std::string Samples(const RunHistory& history) {
  if (history.samples.empty()) return "";
  std::string html = absl::StrFormat(
      "<h2>Held-out questions</h2>\n<p>Answers after step %.0f (all stages), in stage %s; "
      "right is what equals the expected answer but for case and white space.</p>\n",
      history.samples_step, EscapeHtml(history.samples_stage));
  for (const bool right : {false, true}) {
    for (const HistorySample& sample : history.samples) {
      if (sample.right == right) absl::StrAppend(&html, SampleHtml(sample));
    }
  }
  return html;
}

}  // namespace

std::string RunReportHtml(const std::string& name, const RunHistory& history) {
  const std::string title = EscapeHtml(name);
  return absl::StrCat(kHead, "<title>", title, "</title></head><body>\n<h1>", title, "</h1>\n",
                      Summary(history), Curves(history), Samples(history), "</body></html>\n");
}

absl::Status WriteRunReport(const std::string& name, const std::string& folder) {
  const RunHistory history = ReadRunHistory(folder + "/metrics.jsonl");
  if (history.steps.empty()) return absl::OkStatus();
  const std::string path = folder + "/report.html";
  RETURN_IF_ERROR(WriteFile(path + ".new", RunReportHtml(name, history)));
  return RenameFile(path + ".new", path);
}

}  // namespace llava::training
