// What `llava batch` asks about: a folder of pictures, a pattern of paths, or a file of rows.
#ifndef LLAVA_CLIENT_BATCH_SOURCE_H_
#define LLAVA_CLIENT_BATCH_SOURCE_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "llava/v1/chat.pb.h"

namespace llava::client {

// One row of the input, nothing of it read yet but its own line.
struct BatchItem {
  std::string id;     // unique in the input: names the answer's row
  std::string line;   // JSON of a file's row; empty: `image` and the common prompt
  std::string image;  // path of a picture; empty for a file's row
};

// Calls `visit` for each item until it returns an error, which is returned then. Items are not
// kept: the memory that this takes does not grow with their number.
//   A folder: its pictures (jpg, jpeg, png, webp, gif, bmp) at any depth, in the file system's
//     order; id: the path below the folder.
//   FILE.jsonl: a row a line; id: "custom_id", else "id", else "image", else "line N".
//   Anything else is a pattern of the shell (glob(7)); id: the path.
// NOT_FOUND: no such file, or nothing matches. INVALID_ARGUMENT: a line that is no JSON object.
absl::Status ForEachItem(const std::string& input,
                         const std::function<absl::Status(const BatchItem&)>& visit);

// Whether the items of the input may bring prompts: those of a file of rows.
bool MayBringPrompts(const std::string& input);

// What every request of a run has in common.
struct BatchDefaults {
  std::string prompt;       // of items that bring none
  v1::ChatRequest request;  // model, sampling, priority; messages: the system's, or none
};

// The request of an item; reads its pictures. A row is one of
//   {"image": PATH or "images": [PATH...], "prompt": TEXT}     paths from the file's folder
//   {"custom_id": ID, "method": "POST", "url": "/v1/chat/completions", "body": {...}}
//     OpenAI's batch format; pictures as data: URIs or as paths.
// INVALID_ARGUMENT names a field that is wrong or that is not known; NOT_FOUND: a picture's file.
absl::StatusOr<v1::ChatRequest> RequestOf(const BatchItem& item, const std::string& input,
                                          const BatchDefaults& defaults);

}  // namespace llava::client

#endif  // LLAVA_CLIENT_BATCH_SOURCE_H_
