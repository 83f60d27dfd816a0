#include "training/evaluate/grade.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/rng.h"

namespace llava::training {
namespace {

constexpr std::uint64_t kSeed = 42;
constexpr double kTail = 0.025;  // on either side of a 95 % interval
constexpr int kPlacesOfMeans = 3;
constexpr double kMostPoints = 10;  // that a judge gives
constexpr std::array<std::string_view, 4> kCognition = {
    "commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"};

double Ratio(double part, double whole) { return whole == 0 ? 0 : part / whole; }

struct Sum {
  double value = 0;
  double reference = 0;
  double count = 0;
};

using Sums = std::map<std::string, Sum, std::less<>>;

void Add(const Grade& grade, double value, Sums* sums) {
  const auto add = [&](const std::string& name) {
    Sum& sum = (*sums)[name];
    sum.value += value;
    sum.reference += grade.reference;
    ++sum.count;
  };
  for (const std::string& kind : grade.kinds) add(kind);
  add("total");
}

struct Confusion {
  double true_positive = 0, false_positive = 0, true_negative = 0, false_negative = 0;

  double all() const { return true_positive + false_positive + true_negative + false_negative; }
  double says_yes() const { return true_positive + false_positive; }
  double accuracy() const { return Ratio(true_positive + true_negative, all()); }
  double f1() const {
    return Ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative);
  }
};

void Count(const Grade& grade, Confusion* confusion) {
  const bool says = grade.said == "yes";
  const bool is = grade.expected == "yes";
  ++(says ? (is ? confusion->true_positive : confusion->false_positive)
          : (is ? confusion->false_negative : confusion->true_negative));
}

Interval MiddleOf(std::vector<double>& values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    const auto index = static_cast<std::size_t>(share * static_cast<double>(values.size() - 1));
    return values[index];
  };
  return {at(kTail), at(1 - kTail)};
}

}  // namespace

ScoreTable MeanByKind(std::span<const Unit> units) {
  Sums sums;
  for (const Unit& unit : units) {
    for (const Grade& grade : unit) {
      if (grade.known) Add(grade, grade.value, &sums);
    }
  }
  ScoreTable table;
  for (const auto& [kind, sum] : sums) table[kind] = sum.value / sum.count;
  return table;
}

ScoreTable WholeUnitsByKind(std::span<const Unit> units) {
  Sums sums;
  for (const Unit& unit : units) {
    if (unit.empty() || !unit.front().known) continue;
    const bool right =
        std::all_of(unit.begin(), unit.end(), [](const Grade& grade) { return grade.value == 1; });
    Add(unit.front(), right ? 1 : 0, &sums);
  }
  ScoreTable table;
  for (const auto& [kind, sum] : sums) table[kind] = sum.value / sum.count;
  return table;
}

ScoreTable YesNoByKind(std::span<const Unit> units) {
  std::map<std::string, Confusion> kinds;
  for (const Unit& unit : units) {
    for (const Grade& grade : unit) {
      if (!grade.known) continue;
      for (const std::string& kind : grade.kinds) Count(grade, &kinds[kind]);
    }
  }
  ScoreTable table;
  for (const auto& [kind, counts] : kinds) {
    const double recalled = counts.true_positive + counts.false_negative;
    table[kind + "/accuracy"] = counts.accuracy();
    table[kind + "/precision"] = Ratio(counts.true_positive, counts.says_yes());
    table[kind + "/recall"] = Ratio(counts.true_positive, recalled);
    table[kind + "/f1"] = counts.f1();
    table[kind + "/yes"] = Ratio(counts.says_yes(), counts.all());
    table["accuracy"] += counts.accuracy() / static_cast<double>(kinds.size());
    table["f1"] += counts.f1() / static_cast<double>(kinds.size());
  }
  if (!kinds.empty()) table["total"] = table["f1"];
  return table;
}

ScoreTable MmePoints(std::span<const Unit> units) {
  struct Task {
    double right = 0, questions = 0, whole = 0, pictures = 0;
  };
  std::map<std::string, Task> tasks;
  for (const Unit& unit : units) {
    if (unit.empty() || unit.front().kinds.empty()) continue;
    Task& task = tasks[unit.front().kinds.front()];
    bool whole = true;
    for (const Grade& grade : unit) {
      task.right += grade.value;
      whole = whole && grade.value == 1;
    }
    task.questions += static_cast<double>(unit.size());
    task.whole += whole ? 1 : 0;
    ++task.pictures;
  }
  ScoreTable table;
  for (const auto& [name, task] : tasks) {
    const double points =
        100 * (Ratio(task.right, task.questions) + Ratio(task.whole, task.pictures));
    const bool cognition =
        std::find(kCognition.begin(), kCognition.end(), name) != kCognition.end();
    table[name] = points;
    table[cognition ? "cognition" : "perception"] += points;
    table["total"] += points;
  }
  return table;
}

ScoreTable RelativeByKind(std::span<const Unit> units) {
  Sums sums;
  for (const Unit& unit : units) {
    for (const Grade& grade : unit) {
      if (grade.known) Add(grade, grade.value, &sums);
    }
  }
  ScoreTable table;
  for (const auto& [kind, sum] : sums) {
    const double reference = RoundTo(sum.reference / sum.count, kPlacesOfMeans);
    const double answer = RoundTo(sum.value / sum.count, kPlacesOfMeans);
    table[kind] = Ratio(answer, reference);
    table[kind + "/reference"] = reference / kMostPoints;
    table[kind + "/answer"] = answer / kMostPoints;
  }
  return table;
}

double RoundTo(double value, int places) {
  double rounded = 0;
  LLAVA_CHECK(absl::SimpleAtod(absl::StrFormat("%.*f", places, value), &rounded));
  return rounded;
}

std::map<std::string, Interval> Bootstrap(std::span<const Unit> units, ScoreUnits score,
                                          int draws) {
  std::map<std::string, std::vector<double>> drawn;
  Rng rng(kSeed);
  std::vector<Unit> sample(units.size());
  for (int draw = 0; draw < draws && !units.empty(); ++draw) {
    for (Unit& unit : sample) unit = units[rng.Below(units.size())];
    for (const auto& [name, value] : score(sample)) drawn[name].push_back(value);
  }
  std::map<std::string, Interval> intervals;
  for (auto& [name, values] : drawn) intervals[name] = MiddleOf(values);
  return intervals;
}

std::vector<Unit> UnitsOf(std::span<const Grade> grades, std::size_t size) {
  LLAVA_CHECK_GT(size, 0u);
  std::vector<Unit> units;
  for (std::size_t at = 0; at < grades.size(); at += size) {
    units.push_back(grades.subspan(at, std::min(size, grades.size() - at)));
  }
  return units;
}

}  // namespace llava::training
