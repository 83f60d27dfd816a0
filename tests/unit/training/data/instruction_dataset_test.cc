#include "training/data/instruction_dataset.h"

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/tar_writer.h"
#include "tests/support/temp_dir.h"
#include "training/data/tar/picture_file.h"
#include "zlib.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string TextRow(int id, int words = 1) {
  std::string answer = "a";
  for (int i = 1; i < words; ++i) answer += " b";
  return absl::StrCat(R"({"id": ")", id,
                      R"(", "conversations": [{"from": "human", "value": "q"}, )"
                      R"({"from": "gpt", "value": ")",
                      answer, R"("}]})");
}

class InstructionDatasetTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& bytes) {
    const std::string path = dir_.path() + "/" + name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  std::string WriteGzip(const std::string& name, const std::string& bytes,
                        const char* mode = "wb") {
    const std::string path = dir_.path() + "/" + name;
    gzFile file = gzopen(path.c_str(), mode);
    gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
    gzclose(file);
    return path;
  }

  DatasetOptions Options() {
    DatasetOptions options;
    options.on_issue = [this](const RowIssue& issue) { issues_.push_back(issue); };
    return options;
  }

  test::TempDir dir_;
  std::vector<RowIssue> issues_;
};

TEST_F(InstructionDatasetTest, ReadsAnArrayJsonlAndGzipAlike) {
  const std::string array =
      "\xEF\xBB\xBF[\n" + TextRow(1) + ",\n  " + TextRow(2, 3) + ",\n" + TextRow(3) + "\n]\n";
  const std::string lines = TextRow(1) + "\n\n" + TextRow(2, 3) + "\r\n" + TextRow(3);
  for (const std::string& file : {Write("a.json", array), Write("b.jsonl", lines),
                                  WriteGzip("c.json.gz", array), WriteGzip("d.gz", lines)}) {
    auto data = InstructionDataset::Open({file}, Options());
    ASSERT_TRUE(data.ok()) << data.status();
    ASSERT_EQ(data->size(), 3) << file;
    EXPECT_EQ(data->bad_rows(), 0);
    EXPECT_THAT(data->lengths(), ElementsAre(-2, -4, -2));
    EXPECT_EQ(data->Read(1)->turns[1].text, "a b b");
    EXPECT_EQ(data->Read(2)->id, "3");
    EXPECT_EQ(data->Describe(1), absl::StrCat(file, ":3"));
  }
}

TEST_F(InstructionDatasetTest, JoinsFilesAndKnowsTheirDigests) {
  const std::string a = Write("a.jsonl", TextRow(1) + "\n");
  const std::string b = WriteGzip("b.jsonl.gz", TextRow(2) + "\n" + TextRow(3) + "\n");
  auto data = InstructionDataset::Open({a, b}, Options());
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->size(), 3);
  EXPECT_EQ(data->Read(2)->id, "3");
  std::ifstream packed(b, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(packed)), {});
  EXPECT_THAT(data->digests(), ElementsAre(Sha256Of(TextRow(1) + "\n"), Sha256Of(bytes)));
}

TEST_F(InstructionDatasetTest, ARowThatWasReplacedByAnotherIsNoticed) {
  const std::string file = Write("a.jsonl", TextRow(1) + "\n" + TextRow(2) + "\n");
  auto data = InstructionDataset::Open({file}, Options());
  ASSERT_TRUE(data.ok()) << data.status();
  Write("a.jsonl", TextRow(1) + "\n" + TextRow(9) + "\n");
  EXPECT_TRUE(data->Read(0).ok());
  EXPECT_EQ(data->Read(1).status(),
            absl::DataLossError(file + ":2: the file has changed since it was opened"));
}

TEST_F(InstructionDatasetTest, SkipsAndReportsBadRowsWithTheirLines) {
  const std::string file = Write(
      "a.json", "[" + TextRow(1) + ",\n{\"id\": \"bad\"},\n17, \"text\",\n" + TextRow(2) + "]");
  auto data = InstructionDataset::Open({file}, Options());
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->size(), 2);
  EXPECT_EQ(data->bad_rows(), 3);
  ASSERT_EQ(issues_.size(), 3u);
  EXPECT_EQ(issues_[0].id, "bad");
  EXPECT_EQ(issues_[0].line, 2);
  EXPECT_EQ(issues_[2].line, 3);
  EXPECT_EQ(issues_[0].file, file);
}

TEST_F(InstructionDatasetTest, ABrokenLineSpoilsNoOther) {
  const std::string file =
      Write("a.jsonl", TextRow(1) + "\n{\"id\": \"open\n" + TextRow(2) + "\nrubbish }{ \"\n");
  auto data = InstructionDataset::Open({file}, Options());
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->size(), 2);
  EXPECT_EQ(data->bad_rows(), 2);
}

TEST_F(InstructionDatasetTest, StopsAtTheFirstBadRowWhenAsked) {
  const std::string file = Write("a.jsonl", TextRow(1) + "\n{}\n" + TextRow(2) + "\n");
  DatasetOptions options = Options();
  options.on_bad_row = OnBadRow::kStop;
  const auto data = InstructionDataset::Open({file}, options);
  EXPECT_EQ(data.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(data.status().message(),
            absl::StrCat(file, ":2: conversations is missing, expected a list of turns"));
}

TEST_F(InstructionDatasetTest, ChecksThatImagesAreFiles) {
  const std::string row = R"({"id":"1","image":"in/a.png","conversations":[
      {"from":"human","value":"<image>"},{"from":"gpt","value":"b"}]})";
  const std::string file = Write("a.json", "[" + row + "," + TextRow(2) + "]");
  DatasetOptions options = Options();
  options.images_dir = dir_.path();
  EXPECT_EQ(InstructionDataset::Open({file}, options)->bad_rows(), 1);
  EXPECT_EQ(issues_[0].field, "image");
  EXPECT_THAT(issues_[0].why, HasSubstr("in/a.png"));
  std::filesystem::create_directory(dir_.path() + "/in");
  Write("in/a.png", "x");
  auto data = InstructionDataset::Open({file}, options);
  EXPECT_EQ(data->bad_rows(), 0);
  EXPECT_THAT(data->lengths(), ElementsAre(2, -2));
}

TEST_F(InstructionDatasetTest, AFileMayHaveImagesOfItsOwn) {
  const std::string row = R"({"id": "1", "image": "i", "conversations": [
      {"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}]})";
  const std::string both = dir_.path() + "/both";
  const std::string own = dir_.path() + "/own";
  for (const std::string& folder : {both, own}) {
    std::filesystem::create_directory(folder);
    std::ofstream(folder + "/i") << folder;
  }
  DatasetOptions options = Options();
  options.images_dir = both;
  options.file_images = {"", own};
  const auto data = InstructionDataset::Open(
      {Write("a.json", "[" + row + "]"), Write("b.json", "[" + row + "]")}, options);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->Read(0)->images_dir, "");
  EXPECT_EQ(data->Read(1)->images_dir, own);
  std::filesystem::remove(own + "/i");
  EXPECT_EQ(InstructionDataset::Open({dir_.path() + "/a.json", dir_.path() + "/b.json"}, options)
                ->bad_rows(),
            1);
}

TEST_F(InstructionDatasetTest, NamesWhatIsWrongWithAFile) {
  const struct {
    std::string file;
    absl::StatusCode code;
    const char* message;
  } cases[] = {
      {dir_.path() + "/none.json", absl::StatusCode::kNotFound, "none.json"},
      {Write("empty.json", ""), absl::StatusCode::kInvalidArgument, "is empty"},
      {Write("text.json", "hello"), absl::StatusCode::kInvalidArgument, "begins with 'h'"},
      {Write("open.json", "[" + TextRow(1)), absl::StatusCode::kInvalidArgument, "does not end"},
      {Write("row.json", "[\n{\"id\": 1"), absl::StatusCode::kInvalidArgument, "line 2"},
      {Write("behind.json", "[" + TextRow(1) + "] x"), absl::StatusCode::kInvalidArgument,
       "behind"},
      {Write("comma.json", "[" + TextRow(1) + TextRow(2) + "]"), absl::StatusCode::kInvalidArgument,
       "expected ','"},
      {Write("none_good.json", "[]"), absl::StatusCode::kInvalidArgument, "no good row"},
      {Write("rows.parquet", "PAR1\x15 rubbish"), absl::StatusCode::kInvalidArgument,
       "is a Parquet file, which is not read"},
      {Write("broken.gz", "\x1f\x8b rubbish rubbish"), absl::StatusCode::kDataLoss, "gzip"},
  };
  for (const auto& c : cases) {
    const auto data = InstructionDataset::Open({c.file}, Options());
    EXPECT_EQ(data.status().code(), c.code) << c.file << ": " << data.status();
    EXPECT_THAT(data.status().message(), HasSubstr(c.message)) << c.file;
  }
}

TEST_F(InstructionDatasetTest, NoticesATruncatedGzipAndTakesSeveralMembers) {
  const std::string whole = WriteGzip("a.gz", TextRow(1) + "\n");
  WriteGzip("a.gz", TextRow(2) + "\n", "ab");
  EXPECT_EQ(InstructionDataset::Open({whole}, Options())->size(), 2);
  std::filesystem::resize_file(whole, std::filesystem::file_size(whole) - 9);
  EXPECT_EQ(InstructionDataset::Open({whole}, Options()).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(InstructionDatasetTest, NoticesThatTheFileWasCut) {
  const std::string file = Write("a.jsonl", TextRow(1) + "\n" + TextRow(2) + "\n");
  auto data = InstructionDataset::Open({file}, Options());
  std::filesystem::resize_file(file, 20);
  const auto row = data->Read(1);
  EXPECT_EQ(row.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(row.status().message(), HasSubstr("a.jsonl:2"));
}

TEST_F(InstructionDatasetTest, RefusesARowThatIsTooLargeWithoutHoldingIt) {
  std::string row = TextRow(1);
  row.insert(row.size() - 4, std::string(kMaxRowBytes, 'x'));
  auto data = InstructionDataset::Open({Write("a.jsonl", row + "\n" + TextRow(2))}, Options());
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->size(), 1);
  EXPECT_THAT(issues_[0].why, HasSubstr("at most 16777216"));
}

TEST_F(InstructionDatasetTest, ATarsSamplesAreRowsWithThePicturesBesideThem) {
  const std::string json =
      R"({"id": "j", "conversations": [{"from": "human", "value": "<image>\nq"}, )"
      R"({"from": "gpt", "value": "a"}]})";
  const std::string bytes = test::TarMember("d/0.json", json) + test::TarMember("d/0.jpg", "one") +
                            test::TarMember("1.jpg", "two") + test::TarMember("1.txt", "a cat\n") +
                            test::TarMember("2.json", TextRow(3)) + test::TarEnd();
  const std::string tar = Write("a.tar", bytes);
  const std::string lines = Write("b.jsonl", TextRow(4));
  auto data = InstructionDataset::Open({tar, lines}, Options());
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->size(), 4);
  EXPECT_EQ(data->bad_rows(), 0);
  EXPECT_THAT(data->lengths(), ElementsAre(3, 3, -2, -2));
  EXPECT_EQ(data->digests()[0], Sha256Of(bytes));
  const auto first = data->Read(0), second = data->Read(1), third = data->Read(2);
  ASSERT_TRUE(first.ok() && second.ok() && third.ok()) << first.status() << second.status();
  EXPECT_EQ(first->id, "j");
  EXPECT_EQ(first->images_dir, tar);
  ASSERT_EQ(first->images.size(), 1u);
  EXPECT_EQ(*ReadPictureFile(tar + "/" + first->images[0], 100), "one");
  EXPECT_EQ(second->id, "1");
  EXPECT_EQ(second->turns[1].text, "a cat");
  EXPECT_EQ(*ReadPictureFile(tar + "/" + second->images[0], 100), "two");
  EXPECT_TRUE(third->images.empty());
  EXPECT_EQ(data->Describe(1), tar + ": 1.txt");
  EXPECT_EQ(*data->ReadText(0), json);
  EXPECT_EQ(data->Read(3)->images_dir, "");
}

TEST_F(InstructionDatasetTest, NamesTheBadMembersOfATar) {
  const std::string tar =
      Write("a.tar", test::TarMember("0.json", "{\n\"id\" 3}") + test::TarMember("0.jpg", "p") +
                         test::TarMember("1.jpg", "p") + test::TarBlock("2.json", 0, '2') +
                         test::TarMember("3.json", TextRow(3)) + test::TarEnd());
  auto data = InstructionDataset::Open({tar}, Options());
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->size(), 1);
  EXPECT_EQ(data->bad_rows(), 3);
  ASSERT_EQ(issues_.size(), 3u);
  EXPECT_THAT(issues_[0].ToString(),
              HasSubstr(tar + ": 0.json: is not valid JSON at line 2, column 6"));
  EXPECT_EQ(issues_[1].ToString(), tar + ": 1: has no .json and no .txt beside its pictures");
  EXPECT_EQ(issues_[2].ToString(), tar + ": 2.json: is a link, expected a file");
  DatasetOptions options = Options();
  options.on_bad_row = OnBadRow::kStop;
  EXPECT_THAT(std::string(InstructionDataset::Open({tar}, options).status().message()),
              HasSubstr("0.json: is not valid JSON"));
}

TEST_F(InstructionDatasetTest, ATarThatIsNoneOrChangedIsNoticed) {
  const auto code = [this](const std::string& file) {
    return InstructionDataset::Open({file}, Options()).status().code();
  };
  const std::string whole = test::TarMember("0.json", TextRow(1)) + test::TarEnd();
  EXPECT_EQ(code(Write("none.tar", TextRow(1))), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(Write("rubbish.tar", std::string(600, 'x'))), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Write("cut.tar", whole.substr(0, 520))), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(WriteGzip("packed.tar", whole)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Write("empty.tar", test::TarEnd())), absl::StatusCode::kInvalidArgument);
  const std::string tar = Write("a.tar", whole);
  auto data = InstructionDataset::Open({tar}, Options());
  ASSERT_TRUE(data.ok()) << data.status();
  Write("a.tar", test::TarMember("0.json", TextRow(2)) + test::TarEnd());
  EXPECT_EQ(data->Read(0).status(),
            absl::DataLossError(tar + ": 0.json: the file has changed since it was opened"));
}

}  // namespace
}  // namespace llava::training
