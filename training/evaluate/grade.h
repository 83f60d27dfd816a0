// From answers that were judged one by one to the numbers that a benchmark reports. Pure functions,
// any thread.
#ifndef LLAVA_TRAINING_EVALUATE_GRADE_H_
#define LLAVA_TRAINING_EVALUATE_GRADE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace llava::training {

// What became of one question.
struct Grade {
  bool known = true;       // false: nobody knows what is right, or the judge did not say
  double value = 0;        // the share of the points, in [0, 1]; or the judge's score, 1 to 10
  double reference = 0;    // the judge's score of the reference answer
  std::string said{};      // what was read out of the answer
  std::string expected{};  // what is right, as a person would say it; may be empty
  std::vector<std::string> kinds{};  // the groups that it counts in, besides "total"
};

// Grades that belong together, such as the two questions about a picture of MME: they are drawn
// together.
using Unit = std::span<const Grade>;
using ScoreTable = std::map<std::string, double>;
using ScoreUnits = ScoreTable (*)(std::span<const Unit> units);

// The mean value by kind, and "total" of all: shares in [0, 1], by question. What is not known does
// not count.
ScoreTable MeanByKind(std::span<const Unit> units);

// The same of units: one counts as right when all of its grades are (MMBench's CircularEval). Kinds
// are those of its first grade.
ScoreTable WholeUnitsByKind(std::span<const Unit> units);

// POPE: `said` and `expected` are "yes" or "no", and yes is positive. For each kind KIND/accuracy,
// precision, recall, f1 and yes; "f1" and "accuracy" are means over the kinds, and "total" is "f1".
// A ratio whose denominator is 0 is 0.
ScoreTable YesNoByKind(std::span<const Unit> units);

// MME: for each subtask 100 * (share of right answers + share of units that are right as a whole);
// "perception" and "cognition" add up their subtasks, "total" is both.
ScoreTable MmePoints(std::span<const Unit> units);

// LLaVA-Bench (summarize_gpt_review.py): the mean of values divided by the mean of references, both
// rounded to 3 places before, by kind and for "total"; KIND/reference and KIND/answer are those
// means, as shares of 10 points.
ScoreTable RelativeByKind(std::span<const Unit> units);

// As Python's round(x, places): to the nearest decimal, ties of the exact binary value to even.
double RoundTo(double value, int places);

struct Interval {
  double low = 0;
  double high = 0;
};

// 95 % intervals of all scores: percentiles of `draws` draws of units with replacement, the same
// for the same grades.
std::map<std::string, Interval> Bootstrap(std::span<const Unit> units, ScoreUnits score,
                                          int draws = 1000);

// Units of `size` grades each, one after the other. REQUIRES: size > 0.
std::vector<Unit> UnitsOf(std::span<const Grade> grades, std::size_t size);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_GRADE_H_
