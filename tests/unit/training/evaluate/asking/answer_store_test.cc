#include "training/evaluate/asking/answer_store.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kFile[] = "/answers.journal.jsonl";

Benchmark Bench() {
  Benchmark bench;
  bench.name = "bench";
  for (const char* id : {"a", "b"}) {
    BenchQuestion question;
    question.id = id;
    question.prompt = question.recorded = std::string("What is ") + id + "?";
    question.image = "1.jpg";
    question.more = {{"round_id", 0}};
    bench.questions.push_back(std::move(question));
  }
  return bench;
}

TEST(AnswerStore, GoesOnWhereItWasStopped) {
  const test::TempDir dir;
  const Asker asker{"m", "version", "print", 10};
  {
    auto store = AnswerStore::Open(dir.path() + kFile, asker, 3);
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_THAT(store->Unanswered(), ElementsAre(0, 1, 2));
    ASSERT_TRUE(store->Put(1, {"one\ntwo", ""}).ok());
    ASSERT_TRUE(store->Put(2, {"", "too long"}).ok());
  }
  const auto again = AnswerStore::Open(dir.path() + kFile, asker, 3);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_THAT(again->Unanswered(), ElementsAre(0));
  EXPECT_THAT(again->Texts(), ElementsAre("", "one\ntwo", ""));
  EXPECT_EQ(again->Get(2)->error, "too long");
}

TEST(AnswerStore, AnswersOfAnotherModelOrExamAreRefused) {
  const test::TempDir dir;
  const Asker asker{"m", "version", "print", 10};
  ASSERT_TRUE(AnswerStore::Open(dir.path() + kFile, asker, 3)->Put(2, {"x", ""}).ok());
  for (const Asker& other :
       {Asker{"m", "other", "print", 10}, Asker{"m", "version", "else", 10},
        Asker{"m", "version", "print", 20}, Asker{"m", "version", "print", 10, true}}) {
    EXPECT_TRUE(
        absl::IsFailedPrecondition(AnswerStore::Open(dir.path() + kFile, other, 3).status()));
  }
  EXPECT_TRUE(absl::IsDataLoss(AnswerStore::Open(dir.path() + kFile, asker, 2).status()));
}

TEST(AnswerStore, LinesAreThoseOfTheOriginal) {
  AnswerStore store(2);
  ASSERT_TRUE(store.Put(0, {"It is.", ""}).ok());
  const Benchmark bench = Bench();
  const std::string lines = AnswerLines(bench, store, {"m", "v", "p", 1});
  const std::string id = AnswerId(bench, 0, "It is.");
  EXPECT_EQ(id.size(), 22u);
  EXPECT_THAT(lines, HasSubstr(R"({"question_id":"a","prompt":"What is a?","text":"It is.",)"
                               R"("answer_id":")" +
                               id + R"(","model_id":"m","metadata":{},"round_id":0})" + "\n"));
  EXPECT_THAT(lines, HasSubstr(R"("metadata":{"error":"not asked"})"));
  EXPECT_THAT(
      QuestionLines(bench),
      HasSubstr(R"({"question_id":"a","image":"1.jpg","text":"What is a?","category":""})"));
}

}  // namespace
}  // namespace llava::training
