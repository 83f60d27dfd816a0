// Training jobs in columns, for a person.
#ifndef LLAVA_CLIENT_JOBS_TABLE_H_
#define LLAVA_CLIENT_JOBS_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "llava/v1/training.pb.h"

namespace llava::client {

// "SUCCEEDED" and the like.
std::string StateName(v1::JobState state);

// A heading and a line a job: number, state, creator, when it was made (UTC), how long it has run,
// step and loss as it said them last, and its message on one line of at most 80 characters, behind
// the number of shards that were set aside. "" for no jobs. `now_ms`: since 1970, for those that
// run.
std::string JobsTable(const std::vector<v1::Job>& jobs, std::int64_t now_ms);

}  // namespace llava::client

#endif  // LLAVA_CLIENT_JOBS_TABLE_H_
