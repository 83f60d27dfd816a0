#include "tests/support/exposition.h"

#include <cmath>
#include <cstdlib>
#include <regex>
#include <set>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace llava::testing {
namespace {

class Checker {
 public:
  std::vector<std::string> Check(const std::string& text) {
    if (!text.empty() && text.back() != '\n') Problem("the last line has no end");
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      ++number_;
      if (line.starts_with("# ")) {
        Comment(line);
      } else {
        Sample(line);
      }
    }
    EndHistogram();
    return std::move(problems_);
  }

 private:
  void Problem(const std::string& what) {
    problems_.push_back(absl::StrCat("line ", number_, ": ", what));
  }

  void Comment(const std::string& line) {
    static const std::regex kComment(R"(# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+))");
    std::smatch match;
    if (!std::regex_match(line, match, kComment)) return Problem("not a comment: " + line);
    const std::string name = match[2];
    if (match[1] == "HELP") {
      EndHistogram();
      family_ = name;
      type_.clear();
      if (!families_.insert(name).second) Problem(name + " comes in two pieces");
      return;
    }
    if (name != family_ || !type_.empty()) Problem("TYPE does not follow HELP: " + line);
    type_ = match[3];
    if ((type_ == "counter") != (name.ends_with("_total"))) Problem(name + " is a " + type_);
  }

  void Sample(const std::string& line) {
    static const std::regex kSample(
        R"(([a-zA-Z_:][a-zA-Z0-9_:]*))"
        R"((\{((?:[a-zA-Z_]\w*="(?:[^"\\]|\\\\|\\n|\\")*",?)+)\})? (\S+))");
    std::smatch match;
    if (!std::regex_match(line, match, kSample)) return Problem("not a sample: " + line);
    const std::string name = match[1], labels = match[3], value = match[4];
    if (!seen_.insert(absl::StrCat(name, "{", labels)).second) Problem("twice: " + line);
    char* end = nullptr;
    const double number = std::strtod(value.c_str(), &end);
    if (*end != '\0') Problem("not a number: " + value);
    if (type_.empty()) return Problem(name + " has no TYPE before it");
    if (type_ == "histogram") return HistogramSample(name, labels, number);
    if (name != family_) Problem(name + " does not belong to " + family_);
    if (type_ == "counter" && !(number >= 0)) Problem("a counter below 0: " + line);
  }

  void HistogramSample(const std::string& name, const std::string& labels, double value) {
    static const std::regex kLe("(?:^|,)le=\"([^\"]*)\"");
    std::smatch match;
    if (name == family_ + "_bucket") {
      if (!std::regex_search(labels, match, kLe)) return Problem("a bucket without le");
      const double le =
          match[1] == "+Inf" ? HUGE_VAL : std::strtod(match[1].str().c_str(), nullptr);
      if (le <= last_le_) cumulative_ = 0;
      if (value < cumulative_) Problem(name + " is not cumulative");
      last_le_ = le;
      cumulative_ = value;
    } else if (name == family_ + "_count") {
      counts_.push_back(value);
    } else if (name != family_ + "_sum") {
      Problem(name + " does not belong to " + family_);
    }
    if (last_le_ == HUGE_VAL && name == family_ + "_bucket") infinities_.push_back(value);
  }

  void EndHistogram() {
    if (type_ == "histogram" && counts_ != infinities_) {
      Problem(family_ + ": _count is not the +Inf bucket");
    }
    counts_.clear();
    infinities_.clear();
    last_le_ = -HUGE_VAL;
    cumulative_ = 0;
  }

  int number_ = 0;
  std::string family_, type_;
  std::set<std::string> families_, seen_;
  std::vector<double> counts_, infinities_;
  double last_le_ = -HUGE_VAL, cumulative_ = 0;
  std::vector<std::string> problems_;
};

}  // namespace

std::vector<std::string> ExpositionProblems(const std::string& text) {
  return Checker().Check(text);
}

std::map<std::string, double> Samples(const std::string& text) {
  std::map<std::string, double> samples;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t space = line.rfind(' ');
    if (line.starts_with("#") || space == std::string::npos) continue;
    samples[line.substr(0, space)] = std::strtod(line.c_str() + space, nullptr);
  }
  return samples;
}

}  // namespace llava::testing
