// An answer that was given, asked for again: whether it is the same, and why not.
//
// An answer depends on the model's version, the build, the numbers of its weights, the prompt with
// its pictures, and the sampling with its seed, and on nothing else. So what is needed is the
// request as it was sent and the response as it came; a server keeps neither.
#ifndef LLAVA_CLIENT_REPLAY_REPLAY_H_
#define LLAVA_CLIENT_REPLAY_REPLAY_H_

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace llava::client {

// Both of OpenAI's chat completions, as JSON. Of a line of a batch's input or output file, the
// body.
struct Recorded {
  boost::json::object request;
  boost::json::object response;
};

// INVALID_ARGUMENT says which of the two is none.
absl::StatusOr<Recorded> ReadRecorded(boost::json::object request, boost::json::object response);

// The request that asks again: whole, with token ids, and of the version that answered.
// FAILED_PRECONDITION: the request does not say enough, such as temperature without seed.
absl::StatusOr<boost::json::object> RequestToReplay(const Recorded& recorded);

// What came of it.
struct Replay {
  bool is_same = false;
  bool has_tokens = false;          // they were compared; otherwise the texts were
  std::string difference;           // where the first one is; empty: none
  std::vector<std::string> causes;  // what is not as it was then: version, build, numbers
};

// INVALID_ARGUMENT: `again` is no answer.
absl::StatusOr<Replay> CompareReplay(const boost::json::object& recorded,
                                     const boost::json::object& again);

}  // namespace llava::client

#endif  // LLAVA_CLIENT_REPLAY_REPLAY_H_
