#include "training/evaluate/gate_record.h"

#include <boost/json.hpp>

#include "training/evaluate/gate.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr std::size_t kChangedAnswers = 8;

json::object ToJson(const Estimate& interval) {
  return {{"share", interval.value}, {"low", interval.low}, {"high", interval.high}};
}

json::object Answered(const std::vector<EvaluationItem>& items, const std::vector<bool>& right) {
  Scores scores;
  for (std::size_t i = 0; i < items.size(); ++i) {
    KindScore& score = scores[items[i].kind];
    ++score.asked;
    score.right += right[i] ? 1 : 0;
  }
  json::object kinds;
  for (const auto& [kind, score] : scores) kinds[kind] = score.share();
  json::object answered = ToJson(EstimateShare(right));
  answered["kinds"] = std::move(kinds);
  return answered;
}

json::array ChangedAnswers(const ExamRecord& exam) {
  json::array changed;
  for (std::size_t i = 0; i < exam.items.size() && changed.size() < kChangedAnswers; ++i) {
    if (exam.answers[i] == exam.live_answers[i]) continue;
    changed.push_back(json::object{{"question", exam.items[i].question},
                                   {"expected", exam.items[i].answer},
                                   {"live", exam.live_answers[i]},
                                   {"new", exam.answers[i]}});
  }
  return changed;
}

}  // namespace

std::string GateRecordJson(const std::string& rejected, const std::string& live,
                           const std::vector<ExamRecord>& exams) {
  json::array list;
  for (const ExamRecord& exam : exams) {
    json::object entry = {{"name", exam.name},
                          {"questions", exam.items.size()},
                          {"new", Answered(exam.items, exam.right)}};
    if (!exam.live_right.empty()) {
      entry["live"] = Answered(exam.items, exam.live_right);
      entry["change"] = ToJson(EstimateChange(exam.live_right, exam.right));
      entry["changed"] = ChangedAnswers(exam);
    }
    list.push_back(std::move(entry));
  }
  return json::serialize(
      json::object{{"rejected", rejected}, {"live", live}, {"exams", std::move(list)}});
}

}  // namespace llava::training
