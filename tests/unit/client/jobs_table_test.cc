#include "client/jobs_table.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace llava::client {
namespace {

v1::Job MakeJob(const std::string& id, v1::JobState state) {
  v1::Job job;
  job.set_id(id);
  job.set_state(state);
  job.mutable_create_time()->set_seconds(1'767'225'600);  // 2026-01-01 00:00
  return job;
}

TEST(JobsTableTest, ColumnsAreAsWideAsTheirWidestEntry) {
  v1::Job running = MakeJob("12", v1::JOB_STATE_RUNNING);
  running.set_creator("nightly");
  running.mutable_start_time()->set_seconds(1'767'225'660);
  running.set_progress(R"({"total_step":1200,"loss":0.51239})");
  v1::Job failed = MakeJob("7", v1::JOB_STATE_FAILED);
  failed.mutable_start_time()->set_seconds(1'767'225'600);
  failed.mutable_end_time()->set_seconds(1'767'225'602);
  failed.mutable_end_time()->set_nanos(900'000'000);
  failed.set_progress("no JSON");
  failed.set_message("no such data\nand more");
  const std::vector<v1::Job> jobs = {running, failed, MakeJob("6", v1::JOB_STATE_QUEUED)};
  EXPECT_EQ(JobsTable(jobs, (1'767'225'660 + 3'725) * std::int64_t{1000}),
            "JOB  STATE    CREATOR  CREATED (UTC)     RAN     STEP  LOSS    MESSAGE\n"
            "12   RUNNING  nightly  2026-01-01 00:00  1h2m5s  1200  0.5124\n"
            "7    FAILED   -        2026-01-01 00:00  2s      -     -       no such data\n"
            "6    QUEUED   -        2026-01-01 00:00  -       -     -\n");
}

TEST(JobsTableTest, LongMessagesAreCutBetweenCharacters) {
  v1::Job job = MakeJob("1", v1::JOB_STATE_FAILED);
  const std::string begin(79, 'x');
  job.set_message(absl::StrCat(begin, "\xC3\xA4", "rest"));
  const std::string table = JobsTable({job}, 0);
  EXPECT_NE(table.find(absl::StrCat(begin, "...\n")), std::string::npos) << table;
}

TEST(JobsTableTest, AJobWithoutSomeShardsIsMarked) {
  v1::Job job = MakeJob("1", v1::JOB_STATE_REJECTED);
  job.add_set_aside()->set_path("a.jsonl");
  job.add_set_aside()->set_path("b.jsonl");
  EXPECT_NE(JobsTable({job}, 0).find("  2 set aside\n"), std::string::npos);
  job.set_message("worse");
  EXPECT_NE(JobsTable({job}, 0).find("  2 set aside; worse\n"), std::string::npos);
}

TEST(JobsTableTest, NoJobsAreNoTable) { EXPECT_EQ(JobsTable({}, 0), ""); }

}  // namespace
}  // namespace llava::client
