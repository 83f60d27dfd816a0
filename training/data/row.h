// One row of LLaVA instruction data, and what can be wrong with it. The format is the one of the
// reference (LLaVA, train.py): {"id", "image", "conversations": [{"from", "value"}, ...]}, or that
// of OpenAI's chats: {"id", "messages": [{"role", "content"}, ...]}, whose contents are texts or
// lists of the parts {"type": "text", "text": ...} and {"type": "image", "image": PATH} (or
// "image_url"); fields we do not know are ignored, unless they look like pictures, sounds or films
// that nobody would read.
#ifndef LLAVA_TRAINING_DATA_ROW_H_
#define LLAVA_TRAINING_DATA_ROW_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace llava::training {

// Stands in a human turn where an image goes.
inline constexpr std::string_view kImagePlaceholder = "<image>";

// The bytes of one row; more is refused before it is parsed.
inline constexpr std::size_t kMaxRowBytes = std::size_t{16} << 20;

enum class Speaker { kHuman, kGpt };

struct Turn {
  Speaker speaker = Speaker::kHuman;
  std::string text;  // not empty, valid UTF-8
  // False of an answer of weight 0, as OpenAI's fine-tuning has it: part of the conversation, but
  // nothing is learned from it.
  bool is_learned = true;

  bool operator==(const Turn&) const = default;
};

// What always holds: turns alternate, begin with the human and end with gpt, so their number is
// even and at least two; the human turns hold one placeholder for each image, and those of gpt
// none.
struct Row {
  std::string id;                   // may be empty; not unique in published data
  std::vector<std::string> images;  // relative to the images folder; never leaves it
  std::vector<Turn> turns;
  std::string system = {};  // said before the first turn; empty: what the template says there
  // Where its images are, when that is not where those of the whole data set are; else empty. No
  // part of the row's JSON: the data set knows it of the file.
  std::string images_dir = {};

  bool operator==(const Row&) const = default;
};

// Why a row was refused: "data.json:17: row '42': conversations[1].from: is 'robot', expected ...".
struct RowIssue {
  std::string file = {};
  std::int64_t line = 0;   // of the row's first byte, counted from 1; 0: the row is the file
  std::string id = {};     // empty when it could not be read
  std::string field = {};  // "image", "conversations[3].value", ...; empty for the whole row
  std::string why = {};

  std::string ToString() const;
  bool operator==(const RowIssue&) const = default;
};

// Where a row begins in its file, both counted from 1.
struct RowStart {
  std::int64_t line = 1;
  std::int64_t column = 1;
};

// A picture that lies beside a row, in the same archive.
struct PictureBeside {
  std::string name;  // "000001.jpg"
  std::string path;  // what takes its place among the row's images
};

// The row that `json` describes, or the first thing that is wrong with it (`file` and `line` are
// left for the caller to fill in; `start` is for the place of a syntax error). A leading gpt turn
// is dropped, as the reference does. JSON is what Python's reader takes: also NaN and Infinity.
std::variant<Row, RowIssue> ParseRow(std::string_view json, RowStart start = {});

// The same of a row whose pictures lie beside it: its images are those of `beside`. Where it names
// none itself they are all of them, in order; where it names one and one is there, that one; else
// those whose names are the last parts of the paths that it names, which must be all of them.
std::variant<Row, RowIssue> ParseRow(std::string_view json,
                                     const std::vector<PictureBeside>& beside);

// The row of a picture's caption (or of several pictures'): "<image>" for each, and the text
// without white space around it as the answer. Wrong: no picture, no text, no UTF-8, "<image>" in
// the text.
std::variant<Row, RowIssue> CaptionRow(const std::string& id, std::string_view caption,
                                       const std::vector<PictureBeside>& beside);

// Words of all turns, as the reference counts a sample's length for grouping (split at spaces);
// at least 1.
std::int32_t CountWords(const Row& row);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_ROW_H_
