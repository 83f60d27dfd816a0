#include "training/evaluate/gate_record.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "absl/strings/str_cat.h"

namespace llava::training {
namespace {

namespace json = boost::json;

TEST(GateRecordTest, HasSharesIntervalsAndWhatChanged) {
  ExamRecord exam;
  exam.name = "evaluate";
  for (int i = 0; i < 20; ++i) {
    exam.items.push_back({{}, absl::StrCat("q", i), "yes", i % 2 == 0 ? "colour" : "shape"});
    exam.answers.push_back(i < 15 ? "yes" : "no");
    exam.right.push_back(i < 15);
    exam.live_answers.push_back(i < 5 ? "yes" : "no");
    exam.live_right.push_back(i < 5);
  }
  const json::value record = json::parse(GateRecordJson("worse", "00ff", {exam}));
  EXPECT_EQ(record.at("rejected").as_string(), "worse");
  EXPECT_EQ(record.at("live").as_string(), "00ff");
  const json::object& entry = record.at("exams").at(0).as_object();
  EXPECT_EQ(entry.at("questions").to_number<int>(), 20);
  EXPECT_EQ(entry.at("new").at("share").as_double(), 0.75);
  EXPECT_EQ(entry.at("new").at("kinds").at("colour").as_double(), 0.8);
  EXPECT_EQ(entry.at("live").at("share").as_double(), 0.25);
  EXPECT_EQ(entry.at("change").at("share").as_double(), 0.5);
  EXPECT_GT(entry.at("change").at("low").as_double(), 0.2);
  EXPECT_LT(entry.at("change").at("low").as_double(), 0.5);
  EXPECT_GT(entry.at("change").at("high").as_double(), 0.5);
  const json::array& changed = entry.at("changed").as_array();
  ASSERT_EQ(changed.size(), 8u);  // of ten
  EXPECT_EQ(changed[0].at("question").as_string(), "q5");
  EXPECT_EQ(changed[0].at("live").as_string(), "no");
  EXPECT_EQ(changed[0].at("new").as_string(), "yes");
}

TEST(GateRecordTest, WithoutALiveVersionThereIsNothingToCompare) {
  const ExamRecord exam{"evaluate", {{{}, "q", "a", "all"}}, {"a"}, {true}, {}, {}};
  const json::value record = json::parse(GateRecordJson("", "", {exam}));
  EXPECT_FALSE(record.at("exams").at(0).as_object().contains("live"));
  EXPECT_FALSE(record.at("exams").at(0).as_object().contains("change"));
  EXPECT_EQ(record.at("exams").at(0).at("new").at("low").as_double(), 1.0);
}

}  // namespace
}  // namespace llava::training
