// Goes through instruction data as training would, and says everything that is wrong with it.
#ifndef LLAVA_TRAINING_DATA_CHECK_H_
#define LLAVA_TRAINING_DATA_CHECK_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace llava::training {

struct CheckOptions {
  std::vector<std::string> files;  // ShardNames of each
  std::string images_dir = {};     // "": images are not looked at, but those in tars
  std::string checkpoint = {};     // "": nothing is tokenized, so tokens and masks are not counted
  std::string vision_tower_dir = {};
  std::string chat_template = "v1";
  std::int64_t max_length = 2048;
};

struct CheckReport {
  std::int64_t rows = 0;       // all
  std::int64_t bad = 0;        // of them
  std::int64_t text_only = 0;  // of the good ones
  std::int64_t images = 0;     // of the good rows
  std::int64_t turns = 0;
  // With a checkpoint only:
  std::int64_t tokens = 0;        // image features included, after truncation
  std::int64_t label_tokens = 0;  // positions that teach something
  std::int64_t masked = 0;        // rows in which no label is left
  std::int64_t truncated = 0;     // rows that lost tokens to max_length
  std::int64_t cut_images = 0;    // of them, rows that end inside a picture
  std::int64_t longest = 0;       // tokens

  // With a checkpoint: there are good rows, and no label is left in any of them.
  bool teaches_nothing() const { return rows > bad && label_tokens == 0; }

  double bad_share() const {
    return rows == 0 ? 1.0 : static_cast<double>(bad) / static_cast<double>(rows);
  }
};

// `on_line` gets one line for each bad row ("data.json:17: row '42': image is ..."), for each row
// whose labels are all masked, and for each that max_length cuts inside a picture. Errors: files,
// images folder or checkpoint cannot be read at all; INVALID_ARGUMENT: no images folder for a
// checkpoint whose pictures have as many tokens as their size makes them.
absl::StatusOr<CheckReport> CheckData(const CheckOptions& options,
                                      const std::function<void(const std::string&)>& on_line);

// For a person, several lines.
std::string ToText(const CheckReport& report, bool tokenized);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_CHECK_H_
