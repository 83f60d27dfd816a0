#include "server/api/openai/batch_request.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"

namespace llava::api {
namespace {

const std::string kType = "multipart/form-data; boundary=b";

std::string Part(const std::string& disposition, const std::string& content) {
  return absl::StrCat("--b\r\nContent-Disposition: form-data; ", disposition, "\r\n\r\n", content,
                      "\r\n");
}

const std::string kFile = Part("name=\"file\"; filename=\"../rows.jsonl\"", "{}\n");
const std::string kPurpose = Part("name=purpose", "batch");

std::string Wanted(const std::string& more) {
  return absl::StrCat(R"({"input_file_id":"file-1","endpoint":"/v1/score")", more, "}");
}

// A form that comes in pieces of so many bytes; `content`: of the file.
absl::StatusOr<FileUpload> Upload(const std::string& body, std::size_t piece,
                                  std::string* content) {
  FileUploadReader reader = FileUploadReader::Make(kType).value();
  for (std::size_t begin = 0; begin < body.size(); begin += piece) {
    const absl::Status status = reader.Read(body.substr(begin, piece), content);
    if (!status.ok()) return status;
  }
  return reader.Finish();
}

TEST(BatchRequestTest, AnUploadIsItsFileAndWhatItIsFor) {
  const std::string body =
      absl::StrCat(kPurpose, kFile, Part("name=\"expires_after[anchor]\"", "created_at"),
                   Part("name=\"expires_after[seconds]\"", "7200"), "--b--");
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, body.size()}) {
    std::string content;
    const auto upload = Upload(body, piece, &content);
    ASSERT_TRUE(upload.ok()) << upload.status();
    EXPECT_EQ(upload->name, "../rows.jsonl");
    EXPECT_EQ(upload->purpose, "batch");
    EXPECT_EQ(content, "{}\n");
    EXPECT_EQ(upload->lifetime, 7200);
  }
}

TEST(BatchRequestTest, OfAnUploadTheWrongPartIsNamed) {
  const std::pair<std::string, const char*> wrong[] = {
      {kFile, "purpose"},
      {kPurpose, "file"},
      {kFile + Part("name=purpose", "fine-tune"), "purpose"},
      {kPurpose + kFile + kFile, "file"},
      {kPurpose + Part("name=file", "x"), "file"},
      {kPurpose + Part("name=file; filename=\"a\nb\"", "x"), "file"},
      {kPurpose + Part("name=file; filename=\xff", "x"), "file"},
      {kPurpose + kFile + Part("name=other", "x"), "other"},
      {kFile + Part("name=purpose", std::string(1000, 'x')), "purpose"},
      {kPurpose + kFile + Part("name=\"expires_after[seconds]\"", "9"), "expires_after[seconds]"},
      {kPurpose + kFile + Part("name=\"expires_after[anchor]\"", "x"), "expires_after[anchor]"},
  };
  for (const auto& [parts, field] : wrong) {
    const std::string body = parts + "--b--";
    std::string content;
    const auto upload = Upload(body, 5, &content);
    ASSERT_TRUE(absl::IsInvalidArgument(upload.status())) << parts;
    EXPECT_EQ(FieldOf(upload.status()), field) << parts;
  }
}

TEST(BatchRequestTest, ABatchSaysWhatOfAndForHowLong) {
  const auto batch =
      ParseBatchRequest(Wanted(R"(,"completion_window":"2d","metadata":{"a":"b"},)"
                               R"("output_expires_after":{"anchor":"created_at","seconds":3600})"));
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->window_seconds, 2 * 86400);
  EXPECT_EQ(batch->lifetime, 3600);
  EXPECT_EQ(batch->metadata.size(), 1u);
  EXPECT_EQ(ParseBatchRequest(Wanted(R"(,"completion_window":"24h")"))->window_seconds, 86400);
}

TEST(BatchRequestTest, OfABatchTheWrongFieldIsNamed) {
  const std::string window = R"(,"completion_window":"24h")";
  const std::pair<std::string, const char*> wrong[] = {
      {"{}", "input_file_id"},
      {R"({"input_file_id":"a","endpoint":"/v1/models"})", "endpoint"},
      {Wanted(""), "completion_window"},
      {Wanted(R"(,"completion_window":"0h")"), "completion_window"},
      {Wanted(R"(,"completion_window":"-1h")"), "completion_window"},
      {Wanted(R"(,"completion_window":"721h")"), "completion_window"},
      {Wanted(R"(,"completion_window":"h")"), "completion_window"},
      {Wanted(window + R"(,"metadata":{"a":1})"), "metadata"},
      {Wanted(window + R"(,"metadata":[])"), "metadata"},
      {Wanted(window + R"(,"output_expires_after":1)"), "output_expires_after"},
      {Wanted(window + R"(,"output_expires_after":{"anchor":"created_at","seconds":1})"),
       "output_expires_after.seconds"},
      {Wanted(window + R"(,"output_expires_after":{"seconds":3600})"),
       "output_expires_after.anchor"},
      {Wanted(window + R"(,"output_expires_after":{"x":1})"), "output_expires_after.x"},
      {Wanted(window + R"(,"other":1)"), "other"},
  };
  for (const auto& [body, field] : wrong) {
    const auto batch = ParseBatchRequest(body);
    ASSERT_TRUE(absl::IsInvalidArgument(batch.status())) << body;
    EXPECT_EQ(FieldOf(batch.status()), field) << body;
  }
}

}  // namespace
}  // namespace llava::api
