#include "training/evaluate/asking/report.h"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "training/evaluate/benchmarks/bench_files.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr std::size_t kMostShown = 200;
constexpr std::size_t kMaxPictureBytes = std::size_t{2} << 20;
constexpr char kStyle[] =
    "body{font:16px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "article{border-top:1px solid #888;padding:1em 0;overflow:auto}"
    "img{max-width:20em;max-height:20em;float:left;margin-right:1em}"
    "pre{white-space:pre-wrap;margin:.3em 0}";

std::string Escape(const std::string& text) {
  return absl::StrReplaceAll(text,
                             {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

// Browsers tell the format from the bytes.
std::string Picture(const std::string& file) {
  const auto bytes = ReadFile(file, kMaxPictureBytes);
  if (!bytes.ok()) return absl::StrCat("<p>", Escape(file), "</p>");
  return absl::StrCat("<img alt=\"", Escape(file), "\" src=\"data:image/jpeg;base64,",
                      absl::Base64Escape(*bytes), "\">");
}

std::string Article(const BenchQuestion& question, const Grade& grade, const std::string& answer,
                    bool judged) {
  std::string html = "<article>";
  for (const std::string& image : question.images) absl::StrAppend(&html, Picture(image));
  const auto part = [&](const char* name, const std::string& text) {
    absl::StrAppend(&html, "<div><b>", name, "</b><pre>", Escape(text), "</pre></div>");
  };
  part("Question",
       absl::StrCat(IdText(question.id), "  ", question.category, "\n", question.prompt));
  part("Expected", grade.expected);
  part("Found", answer);
  if (judged) part("Scores", absl::StrCat("reference ", grade.reference, ", answer ", grade.value));
  return html + "</article>\n";
}

bool IsWrong(const Grade& grade, bool judged) {
  return grade.known && (judged ? grade.value < grade.reference : grade.value < 1);
}

}  // namespace

std::string ScoreText(const std::string& bench, double value) {
  return absl::StrFormat("%.2f", bench == "mme" ? value : 100 * value);
}

std::string ReportTable(const EvaluationReport& report) {
  std::string table = absl::StrFormat("%s, %d questions, judge: %s\n", report.bench,
                                      report.questions, report.judge);
  for (const auto& [kind, value] : report.scores) {
    absl::StrAppendFormat(&table, "%-24s %8s", kind, ScoreText(report.bench, value));
    const auto interval = report.intervals.find(kind);
    if (interval != report.intervals.end()) {
      absl::StrAppendFormat(&table, "  [%s, %s]", ScoreText(report.bench, interval->second.low),
                            ScoreText(report.bench, interval->second.high));
    }
    absl::StrAppend(&table, "\n");
  }
  if (report.scores.empty()) absl::StrAppend(&table, "no labels, so no scores\n");
  if (report.unanswered > 0) {
    absl::StrAppend(&table, report.unanswered, " questions without an answer count as wrong\n");
  }
  if (report.judge_failed > 0) {
    absl::StrAppend(&table, report.judge_failed, " reviews without scores ",
                    report.as_published ? "count as -1, as published" : "are left out", "\n");
  }
  if (report.position_bias.has_value()) {
    absl::StrAppendFormat(&table, "the first answer is scored %+.3f higher\n",
                          *report.position_bias);
  }
  if (report.cost > 0) {
    absl::StrAppendFormat(&table, "cost %.4f, of which this run %.4f\n", report.cost,
                          report.cost_of_run);
  }
  return table;
}

std::string ReportJson(const EvaluationReport& report) {
  json::object scores;
  for (const auto& [kind, value] : report.scores) {
    json::object score{{"value", value}};
    const auto interval = report.intervals.find(kind);
    if (interval != report.intervals.end()) {
      score["low"] = interval->second.low;
      score["high"] = interval->second.high;
    }
    scores[kind] = std::move(score);
  }
  json::object object{{"bench", report.bench},
                      {"model", report.model},
                      {"data_fingerprint", report.fingerprint},
                      {"judge", report.judge},
                      {"date", report.date},
                      {"questions", report.questions},
                      {"unanswered", report.unanswered},
                      {"judge_failed", report.judge_failed},
                      {"as_published", report.as_published},
                      {"seconds", report.seconds},
                      {"cost", report.cost},
                      {"cost_of_run", report.cost_of_run},
                      {"scores", std::move(scores)}};
  if (report.position_bias.has_value()) object["position_bias"] = *report.position_bias;
  return json::serialize(object) + "\n";
}

std::vector<std::string> NotReached(const std::vector<std::string>& require,
                                    const ScoreTable& scores) {
  std::vector<std::string> missed;
  for (const std::string& text : require) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
    double least = 0;
    const auto found = scores.find(parts.first);
    const bool reached =
        absl::SimpleAtod(parts.second, &least) && found != scores.end() && found->second >= least;
    if (!reached) missed.push_back(text);
  }
  return missed;
}

std::string WrongPage(const Benchmark& benchmark, const std::vector<Grade>& grades,
                      const BenchAnswers& answers) {
  const bool judged = !benchmark.judged.empty();
  std::string articles;
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < grades.size(); ++i) {
    if (!IsWrong(grades[i], judged)) continue;
    if (++wrong > kMostShown) continue;
    absl::StrAppend(&articles, Article(benchmark.questions[i], grades[i], answers[i], judged));
  }
  const std::string title =
      absl::StrCat(benchmark.name, ": ", wrong, " of ", grades.size(),
                   judged ? " answers are worse than the reference" : " answers are wrong",
                   wrong > kMostShown ? absl::StrCat("; the first ", kMostShown) : "");
  return absl::StrCat("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>", title,
                      "</title><style>", kStyle, "</style><h1>", title, "</h1>\n", articles,
                      "</html>\n");
}

}  // namespace llava::training
