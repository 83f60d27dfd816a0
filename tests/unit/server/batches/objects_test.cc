#include "server/batches/objects.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <string>

namespace llava::batches {
namespace {

Batch ABatch() {
  Batch batch{.id = "batch_1",
              .tenant = "ann",
              .endpoint = "/v1/score",
              .window = "24h",
              .input = "file-1",
              .output = "file-2",
              .failures = "file-3",
              .has_output = true,
              .lifetime = 3600,
              .metadata = {{"of", "me"}},
              .state = BatchState::kFailed,
              .created = 10,
              .expires = 20,
              .total = 5,
              .completed = 3,
              .failed = 2,
              .counted_output = {.bytes = 700, .answers = 3},
              .counted_failures = {.bytes = 90, .answers = 2}};
  batch.entered = {{BatchState::kInProgress, 11}, {BatchState::kFailed, 12}};
  batch.errors = {{.code = "invalid_line", .message = "no", .param = "url", .line = 4}};
  return batch;
}

TEST(BatchObjects, ABatchIsWhatItsRecordSays) {
  const Batch batch = ABatch();
  const auto read = BatchOfRecord(ToRecord(batch), "b.json");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(ToRecord(*read), ToRecord(batch));
  EXPECT_EQ(read->counted_output, batch.counted_output);
  EXPECT_EQ(read->counted_failures, batch.counted_failures);
  EXPECT_EQ(read->state, BatchState::kFailed);
  EXPECT_EQ(read->entered, batch.entered);
  EXPECT_EQ(read->errors.front().line, 4);
  EXPECT_FALSE(read->has_failures);
}

TEST(BatchObjects, ClientsSeeFilesOnceTheyAreThere) {
  const std::string json = boost::json::serialize(ToObject(ABatch()));
  EXPECT_THAT(json, ::testing::HasSubstr(R"("output_file_id":"file-2","error_file_id":null)"));
  EXPECT_THAT(json, ::testing::HasSubstr(R"("failed_at":12)"));
  EXPECT_THAT(json, ::testing::HasSubstr(R"("completed_at":null)"));
  EXPECT_THAT(json, ::testing::Not(::testing::HasSubstr("ann")));
}

TEST(BatchObjects, AFileIsWhatItsRecordSays) {
  const File file{.id = "file-1",
                  .tenant = "ann",
                  .name = "../a",
                  .purpose = "batch",
                  .bytes = 3,
                  .created = 4,
                  .expires = 5};
  const auto read = FileOfRecord(ToRecord(file), "f.json");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(ToRecord(*read), ToRecord(file));
}

TEST(BatchObjects, DamagedRecordsAreNamed) {
  for (const char* record : {"", "{", R"({"batch": {"status": "odd"}})", R"({"batch": 1})"}) {
    const auto read = BatchOfRecord(record, "b.json");
    EXPECT_TRUE(absl::IsInvalidArgument(read.status())) << record;
    EXPECT_THAT(std::string(read.status().message()), ::testing::HasSubstr("b.json")) << record;
  }
}

}  // namespace
}  // namespace llava::batches
