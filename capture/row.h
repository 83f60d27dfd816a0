// One served turn as a row of LLaVA's instruction data: what was asked before, the answer, and
// beside them, under "capture", where it came from. Earlier answers have weight 0, so that only the
// answer that the row is about is learned from.
#ifndef LLAVA_CAPTURE_ROW_H_
#define LLAVA_CAPTURE_ROW_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"
#include "base/sampling_params.h"

namespace llava::capture {

// Stands in what the human says where a picture goes.
inline constexpr char kPictureMark[] = "<image>";

// The bytes of a row's line; longer ones are not written. What the trainer reads at most.
inline constexpr std::size_t kMaxRowBytes = std::size_t{16} << 20;

struct Row {
  std::string id;         // of the request; a client may choose it, so it need not be unique
  std::string tenant;     // whose turn it is
  std::int64_t time = 0;  // when the answer ended, seconds of Unix time
  std::string model;
  std::string version;  // digest of the model that answered, in hex
  std::string adapter;  // name of the adapter; empty: none
  SamplingParams sampling;
  bool is_constrained = false;  // the answer had to have a form
  std::string finish;           // "stop" or "length"
  std::string system;           // empty: none
  // Human and model in turn: begins with the human, ends with the answer. With a mark for each
  // picture, and no other mark.
  std::vector<std::string> said;
  std::vector<std::string> pictures;  // files as they came, in the order of their marks
};

// Whether a text has a line that the trainer would take for a picture, a film or a sound.
bool HasMark(absl::string_view text);

// What all rows of a conversation share: a digest of the tenant and of what the human said first,
// pictures too. Later rows of a conversation repeat how it began. `pictures`: digests, in order.
std::string ConversationOf(const Row& row, const std::vector<Digest>& pictures);

// The name of a picture's file: its digest, with an ending by its format.
std::string PictureName(const Digest& digest, absl::string_view bytes);

// The line, without its end. `number`: of the row in its shard.
std::string RowLine(const Row& row, std::int64_t number, const std::vector<Digest>& pictures);

// What is read again of a line, by those who choose among rows.
struct RowHead {
  std::int64_t number = 0;  // in its shard; stays when rows before it are removed
  std::string id;
  std::string tenant;
  std::string conversation;
  std::string finish;
  std::vector<std::string> pictures;  // names of files
};

// INVALID_ARGUMENT names the key that is missing or of another type.
absl::StatusOr<RowHead> ParseRowHead(absl::string_view line);

// The line with another last answer. Errors of ParseRowHead.
absl::StatusOr<std::string> WithAnswer(absl::string_view line, absl::string_view answer);

}  // namespace llava::capture

#endif  // LLAVA_CAPTURE_ROW_H_
