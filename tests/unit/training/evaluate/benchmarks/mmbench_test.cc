#include <filesystem>

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/bench_folder.h"
#include "training/evaluate/benchmarks/bench_files.h"
#include "training/evaluate/benchmarks/choice_benches.h"

namespace llava::training {
namespace {

using testing::HasSubstr;

class MmBenchTest : public ::testing::Test {
 protected:
  MmBenchTest() {
    folder_.Add("mmbench_dev_20230712.tsv",
                "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tsplit\n"
                "241\tWhich?\tLook.\tred\tblue\tgreen\t\tB\tcolour\tb25l\tdev\n"
                "252\tWhat?\tnan\tcat\tdog\t\t\tA\tanimal\tdHdv\tdev\n");
    options_.data = folder_.path();
    options_.scratch = folder_.path() + "/pictures";
  }

  test::BenchFolder folder_;
  BenchOptions options_;
};

TEST_F(MmBenchTest, AsksForALetter) {
  const auto bench = OpenMmBench(options_, /*chinese=*/false);
  ASSERT_TRUE(bench.ok()) << bench.status();
  ASSERT_EQ(bench->questions.size(), 2u);
  EXPECT_EQ(bench->questions[0].recorded, "Look.\nWhich?\nA. red\nB. blue\nC. green");
  EXPECT_EQ(bench->questions[0].prompt,
            bench->questions[0].recorded +
                "\nAnswer with the option's letter from the given choices directly.");
  EXPECT_EQ(bench->questions[1].recorded, "What?\nA. cat\nB. dog");
  EXPECT_EQ(*ReadFile(bench->questions[0].images[0], 100), "one");
  const auto grades = bench->grade({"B", "(B) dog"});
  EXPECT_EQ(grades[0].value, 1);
  EXPECT_EQ(grades[1].value, 0);
  EXPECT_DOUBLE_EQ(bench->score(UnitsOf(*bench, grades)).at("total"), 0.5);
}

TEST_F(MmBenchTest, APictureThatWasWrittenInPartIsWrittenAnew) {
  std::filesystem::create_directories(options_.scratch);
  folder_.Add("pictures/241.jpg", "on").Add("pictures/252.jpg", "of another table");
  const auto bench = OpenMmBench(options_, /*chinese=*/false);
  ASSERT_TRUE(bench.ok()) << bench.status();
  EXPECT_EQ(*ReadFile(bench->questions[0].images[0], 100), "one");
  EXPECT_EQ(*ReadFile(bench->questions[1].images[0], 100), "two");
  folder_.Add("mmbench_dev_20230712.tsv",
              "index\tquestion\tA\tB\timage\n../1\tWhich?\tred\tblue\tb25l\n");
  EXPECT_THAT(std::string(OpenMmBench(options_, false).status().message()),
              HasSubstr("row ../1: index: expected a name without '/'"));
}

TEST_F(MmBenchTest, AllRoundsTurnTheOptions) {
  options_.all_rounds = true;
  const auto bench = OpenMmBench(options_, /*chinese=*/false);
  ASSERT_EQ(bench->questions.size(), 5u);
  EXPECT_EQ(bench->questions[1].recorded, "Look.\nWhich?\nA. blue\nB. green\nC. red");
  EXPECT_EQ(bench->questions[1].expected, "A");
  EXPECT_EQ(bench->questions[2].expected, "C");
  EXPECT_EQ(IdText(bench->questions[1].more.at("option_char")), R"(["B","C","A"])");
  const auto right = bench->grade({"B", "A", "C", "A", "A"});
  const ScoreTable table = bench->score(UnitsOf(*bench, right));
  EXPECT_DOUBLE_EQ(table.at("colour"), 1);
  EXPECT_DOUBLE_EQ(table.at("animal"), 0);  // right in one of two rounds
}

TEST_F(MmBenchTest, ASheetIsSentWithThePredictionsInTheirColumn) {
  const auto bench = OpenMmBench(options_, /*chinese=*/false);
  const auto files = bench->submission({"B", "A & B"});
  const std::string& sheet = files.at("mmbench.xlsx");
  EXPECT_THAT(sheet, HasSubstr("<t xml:space=\"preserve\">D</t></is></c><c t=\"inlineStr\"><is><t "
                               "xml:space=\"preserve\">prediction</t>"));
  EXPECT_THAT(sheet, HasSubstr("A &amp; B"));
  EXPECT_THAT(sheet, testing::Not(HasSubstr("b25l")));
}

TEST_F(MmBenchTest, BadTablesAreNamed) {
  folder_.Add("mmbench_dev_20230712.tsv", "index\tquestion\n1\tWhich?\n");
  EXPECT_THAT(std::string(OpenMmBench(options_, false).status().message()),
              HasSubstr("expected a column 'A'"));
  EXPECT_TRUE(absl::IsNotFound(OpenMmBench(options_, /*chinese=*/true).status()));
}

}  // namespace
}  // namespace llava::training
