#include "training/data/row.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iterator>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/utf8_stream.h"
#include "boost/json.hpp"

namespace llava::training {
namespace {

namespace json = boost::json;

// Of a field that nobody reads; ours are three deep.
constexpr std::size_t kMaxDepth = 512;

RowIssue Issue(std::string id, std::string field, std::string why) {
  return RowIssue{.id = std::move(id), .field = std::move(field), .why = std::move(why)};
}

// A value as it stands in a message: short, and never the whole of a long text.
std::string Show(const json::value& value) {
  std::string text = json::serialize(value);
  constexpr std::size_t kMost = 60;
  if (text.size() > kMost) text = absl::StrCat(text.substr(0, kMost), "...");
  return text;
}

std::size_t CountPlaceholders(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = text.find(kImagePlaceholder); at != text.npos;
       at = text.find(kImagePlaceholder, at + kImagePlaceholder.size())) {
    ++count;
  }
  return count;
}

// Whether `mark` is a whole line of the text, as a mark is and a word about HTML is not.
bool HasLine(std::string_view text, std::string_view mark) {
  for (const absl::string_view line : absl::StrSplit(AbslView(text), '\n')) {
    if (absl::StripAsciiWhitespace(line) == AbslView(mark)) return true;
  }
  return false;
}

// A text that differs from JSON only in what Python's reader takes beside it, and that has the same
// bytes in the same places otherwise: NaN and Infinity become an empty text, half a surrogate pair
// becomes U+FFFD.
class PythonJson {
 public:
  explicit PythonJson(std::string_view text) : text_(text) {}

  std::string AsJson() {
    while (at_ < text_.size()) {
      if (text_[at_] == '"') {
        String();
      } else if (!Constant("NaN") && !Constant("Infinity") && !Constant("-Infinity")) {
        ++at_;
      }
    }
    return std::move(text_);
  }

 private:
  bool Constant(std::string_view word) {
    if (text_.compare(at_, word.size(), word) != 0) return false;
    text_.replace(at_, word.size(), word.size(), ' ');
    text_.replace(at_, 2, "\"\"");
    at_ += word.size();
    return true;
  }

  void String() {
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (text_[at_] != '\\') continue;
      const int unit = Escape(at_);
      if (unit < 0xD800 || unit > 0xDFFF) {
        ++at_;
      } else if (unit < 0xDC00 && Escape(at_ + 6) >= 0xDC00 && Escape(at_ + 6) <= 0xDFFF) {
        at_ += 11;
      } else {
        text_.replace(at_, 6, "\\uFFFD");
        at_ += 5;
      }
    }
    ++at_;
  }

  // The UTF-16 unit of "\uXXXX" at a place; -1 when there is none.
  int Escape(std::size_t at) const {
    unsigned unit = 0;
    if (text_.compare(at < text_.size() ? at : text_.size(), 2, "\\u") != 0) return -1;
    const char* digits = text_.data() + at + 2;
    if (at + 6 > text_.size()) return -1;
    const auto [end, error] = std::from_chars(digits, digits + 4, unit, 16);
    return error == std::errc() && end == digits + 4 ? static_cast<int>(unit) : -1;
  }

  std::string text_;
  std::size_t at_ = 0;
};

// The place in the file of a byte of a row.
std::string PlaceInFile(std::string_view row, std::size_t offset, RowStart start) {
  const std::string_view before = row.substr(0, offset);
  const auto lines = std::count(before.begin(), before.end(), '\n');
  const std::size_t line_start = before.rfind('\n');
  const std::int64_t column = line_start == before.npos
                                  ? start.column + static_cast<std::int64_t>(before.size())
                                  : static_cast<std::int64_t>(before.size() - line_start);
  return absl::StrCat("line ", start.line + lines, ", column ", column);
}

// Relative, and without a way out of the images folder.
bool StaysInside(const std::string& path) {
  const std::filesystem::path parsed(path);
  if (path.empty() || parsed.is_absolute()) return false;
  return std::none_of(parsed.begin(), parsed.end(), [](const auto& part) { return part == ".."; });
}

// It only names the row in messages: whatever it is, the row is as good.
std::string ReadId(const json::object& object) {
  const json::value* id = object.if_contains("id");
  if (id == nullptr || id->is_null()) return "";
  if (id->is_string()) return std::string(id->as_string());
  // As pandas writes integers.
  if (id->is_double()) return absl::StrCat(id->as_double());
  return Show(*id);
}

// The words of a key: "image_paths" and "imagePaths" are {"image", "paths"}.
std::vector<std::string> WordsOf(std::string_view key) {
  std::vector<std::string> words(1);
  bool after_small = false;
  for (const char c : key) {
    const bool letter = absl::ascii_isalpha(static_cast<unsigned char>(c));
    const bool big = absl::ascii_isupper(static_cast<unsigned char>(c));
    if ((!letter || (big && after_small)) && !words.back().empty()) words.emplace_back();
    if (letter) words.back().push_back(absl::ascii_tolower(static_cast<unsigned char>(c)));
    after_small = letter && !big;
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

// Whether a key names pictures, sounds or films themselves, and not something about them, such as
// "image_width" or "video_id".
bool NamesMedia(std::string_view key) {
  static constexpr std::string_view kMedia[] = {
      "image", "images", "img",    "imgs",   "picture", "pictures",   "pic",
      "pics",  "photo",  "photos", "video",  "videos",  "audio",      "audios",
      "media", "frames", "sound",  "sounds", "pixels",  "screenshot", "screenshots"};
  static constexpr std::string_view kAbout[] = {
      "id",      "ids",      "width",    "height",      "size",  "sizes",  "count",
      "source",  "caption",  "captions", "description", "hash",  "md5",    "sha",
      "type",    "format",   "license",  "category",    "label", "labels", "title",
      "quality", "duration", "fps",      "dataset",     "split", "num"};
  const std::vector<std::string> words = WordsOf(key);
  const auto is_one_of = [](const auto& list) {
    return [&list](const std::string& word) {
      return std::find(std::begin(list), std::end(list), word) != std::end(list);
    };
  };
  return std::any_of(words.begin(), words.end(), is_one_of(kMedia)) &&
         std::none_of(words.begin(), words.end(), is_one_of(kAbout));
}

bool SaysNothing(const json::value& value) {
  return value.is_null() || value.is_bool() || value.is_number() ||
         (value.is_string() && value.as_string().empty()) ||
         (value.is_array() && value.as_array().empty()) ||
         (value.is_object() && value.as_object().empty());
}

// A key other than `image` that holds media. `read`: whether `image` is read here.
std::optional<RowIssue> CheckKeys(const json::object& object, const std::string& place, bool read,
                                  const std::string& id) {
  for (const auto& [key, value] : object) {
    const std::string name(key);
    if ((read && name == "image") || SaysNothing(value) || !NamesMedia(name)) continue;
    return Issue(
        id, place + name,
        absl::StrCat("is ", Show(value),
                     ", which nobody would read; expected pictures in the row's \"image\""));
  }
  return std::nullopt;
}

std::optional<RowIssue> AddImage(const json::value& value, const std::string& field, Row* row) {
  if (!value.is_string()) {
    return Issue(row->id, field, absl::StrCat("is ", Show(value), ", expected a path"));
  }
  std::string path(value.as_string());
  if (!StaysInside(path) || path.find('\0') != path.npos) {
    return Issue(row->id, field,
                 absl::StrCat("is ", Show(value), ", expected a path inside the images folder"));
  }
  row->images.push_back(std::move(path));
  return std::nullopt;
}

std::optional<RowIssue> ReadImages(const json::object& object, Row* row) {
  const json::value* image = object.if_contains("image");
  if (image == nullptr || image->is_null()) return std::nullopt;
  if (!image->is_array()) return AddImage(*image, "image", row);
  std::size_t index = 0;
  for (const json::value& entry : image->as_array()) {
    if (auto issue = AddImage(entry, absl::StrCat("image[", index++, "]"), row)) return issue;
  }
  return std::nullopt;
}

// How the two formats call the same things.
struct TurnFormat {
  const char* list;
  const char* speaker;
  const char* text;
  const char* human;
  const char* gpt;
};
constexpr TurnFormat kConversations = {"conversations", "from", "value", "human", "gpt"};
constexpr TurnFormat kMessages = {"messages", "role", "content", "user", "assistant"};

// The path in a part of a content: {"type": "image", "image": PATH}, or OpenAI's "image_url".
const json::value* ImageOfPart(const json::object& part, const std::string& type) {
  const json::value* image = part.if_contains(type);
  if (image != nullptr && image->is_object()) image = image->as_object().if_contains("url");
  return image;
}

// The text of a content in parts, with a mark for each picture, which is added to the row.
std::optional<RowIssue> ReadParts(const json::array& parts, const std::string& field, Row* row,
                                  std::string* text) {
  bool after_text = false;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::string place = absl::StrCat(field, "[", i, "]");
    const json::object* part = parts[i].if_object();
    const json::value* type = part == nullptr ? nullptr : part->if_contains("type");
    const std::string name =
        type != nullptr && type->is_string() ? std::string(type->as_string()) : "";
    if (name == "image" || name == "image_url") {
      const json::value* image = ImageOfPart(*part, name);
      if (image == nullptr) return Issue(row->id, place + "." + name, "is missing");
      if (auto issue = AddImage(*image, place + "." + name, row)) return issue;
      absl::StrAppend(text, after_text ? "\n" : "", "<image>\n");
      after_text = false;
      continue;
    }
    const json::value* said = part == nullptr ? nullptr : part->if_contains("text");
    if (name != "text" || said == nullptr || !said->is_string()) {
      return Issue(row->id, place,
                   absl::StrCat("is ", Show(parts[i]),
                                ", expected a part of type text, image or image_url"));
    }
    absl::StrAppend(text, after_text ? "\n" : "", std::string(said->as_string()));
    after_text = true;
  }
  return std::nullopt;
}

// The text of a turn; empty when it is none.
std::optional<RowIssue> ReadTurnText(const json::value* value, const std::string& field,
                                     const TurnFormat& format, Row* row, std::string* text) {
  if (value != nullptr && value->is_string()) *text = std::string(value->as_string());
  if (value != nullptr && value->is_array() && &format == &kMessages) {
    if (auto issue = ReadParts(value->as_array(), field, row, text)) return issue;
  }
  if (!text->empty()) return std::nullopt;
  return Issue(row->id, field,
               absl::StrCat("is ", value == nullptr ? "missing" : Show(*value),
                            ", expected a text that is not empty"));
}

// The "weight" of a turn: 0 or 1, which only an answer may have.
std::optional<RowIssue> ReadWeight(const json::object& turn, const std::string& field,
                                   bool is_answer, const std::string& id, bool* is_learned) {
  const json::value* weight = turn.if_contains("weight");
  if (weight == nullptr || weight->is_null()) return std::nullopt;
  const double value = weight->is_number() ? weight->to_number<double>() : -1.0;
  if (is_answer ? value != 0.0 && value != 1.0 : value != 0.0) {
    return Issue(id, field + ".weight",
                 absl::StrCat("is ", Show(*weight), ", expected 0 or 1",
                              is_answer ? "" : " of an answer, which this is not"));
  }
  *is_learned = value != 0.0;
  return std::nullopt;
}

std::optional<RowIssue> AddTurn(const json::value& value, const std::string& field,
                                const TurnFormat& format, Row* row) {
  if (!value.is_object()) {
    return Issue(row->id, field, absl::StrCat("is ", Show(value), ", expected an object"));
  }
  const json::value* from = value.as_object().if_contains(format.speaker);
  const json::value* text = value.as_object().if_contains(format.text);
  if (auto issue = CheckKeys(value.as_object(), field + ".", /*read=*/false, row->id)) return issue;
  const std::string speaker_field = absl::StrCat(field, ".", format.speaker);
  const std::string name =
      from != nullptr && from->is_string() ? std::string(from->as_string()) : "";
  if (name != format.human && name != format.gpt && name != "system") {
    return Issue(row->id, speaker_field,
                 absl::StrCat("is ", from == nullptr ? "missing" : Show(*from), ", expected \"",
                              format.human, "\" or \"", format.gpt, "\", or \"system\" at first"));
  }
  std::string said;
  if (auto issue = ReadTurnText(text, absl::StrCat(field, ".", format.text), format, row, &said)) {
    return issue;
  }
  if (name == "system") {
    if (!row->turns.empty() || !row->system.empty()) {
      return Issue(row->id, speaker_field, "is \"system\" after the first turn");
    }
    row->system = std::move(said);
    return std::nullopt;
  }
  const Speaker speaker = name == format.human ? Speaker::kHuman : Speaker::kGpt;
  if (row->turns.empty() && speaker == Speaker::kGpt) return std::nullopt;  // dropped
  if (!row->turns.empty() && row->turns.back().speaker == speaker) {
    return Issue(row->id, speaker_field,
                 absl::StrCat("is ", Show(*from), " twice in a row, expected the other speaker"));
  }
  bool is_learned = true;
  if (auto issue =
          ReadWeight(value.as_object(), field, speaker == Speaker::kGpt, row->id, &is_learned)) {
    return issue;
  }
  row->turns.push_back({speaker, std::move(said), is_learned || speaker == Speaker::kHuman});
  return std::nullopt;
}

std::optional<RowIssue> ReadTurns(const json::object& object, Row* row) {
  const bool messages = object.contains("messages") && !object.contains("conversations");
  const TurnFormat& format = messages ? kMessages : kConversations;
  const json::value* turns = object.if_contains(format.list);
  if (turns == nullptr || !turns->is_array()) {
    return Issue(row->id, format.list,
                 absl::StrCat("is ", turns == nullptr ? "missing" : Show(*turns),
                              ", expected a list of turns"));
  }
  std::size_t index = 0;
  for (const json::value& turn : turns->as_array()) {
    const std::string field = absl::StrCat(format.list, "[", index++, "]");
    if (auto issue = AddTurn(turn, field, format, row)) return issue;
  }
  if (row->turns.empty() || row->turns.back().speaker == Speaker::kHuman) {
    return Issue(row->id, format.list,
                 row->turns.empty() ? "has no turn of the human followed by one of gpt"
                                    : "ends with the human, expected an answer of gpt at the end");
  }
  if (std::none_of(row->turns.begin(), row->turns.end(), [](const Turn& turn) {
        return turn.speaker == Speaker::kGpt && turn.is_learned;
      })) {
    return Issue(row->id, format.list, "has no answer of a weight other than 0 to learn from");
  }
  return std::nullopt;
}

std::optional<RowIssue> CheckPlaceholders(const Row& row) {
  if (CountPlaceholders(row.system) > 0) {
    return Issue(row.id, "conversations", "has <image> in what the system says");
  }
  std::size_t human = 0;
  for (std::size_t i = 0; i < row.turns.size(); ++i) {
    const std::size_t count = CountPlaceholders(row.turns[i].text);
    if (row.turns[i].speaker == Speaker::kGpt && count > 0) {
      return Issue(row.id, "conversations", "has <image> in a turn of gpt");
    }
    for (const std::string_view mark : {"<video>", "<audio>"}) {
      if (row.turns[i].speaker == Speaker::kHuman && HasLine(row.turns[i].text, mark)) {
        return Issue(row.id, "conversations",
                     absl::StrCat("has the mark ", AbslView(mark), ", expected pictures only"));
      }
    }
    human += count;
  }
  if (human == row.images.size()) return std::nullopt;
  return Issue(row.id, "conversations",
               absl::StrCat("has ", human, " <image> for ", row.images.size(),
                            " pictures, expected as many"));
}

// The pictures beside a row in the place of those that it names.
std::optional<RowIssue> UseBeside(const std::vector<PictureBeside>& beside, Row* row) {
  const bool in_order = row->images.empty() || (row->images.size() == 1 && beside.size() == 1);
  if (!in_order && row->images.size() != beside.size()) {
    return Issue(row->id, "image",
                 absl::StrCat("names ", row->images.size(), " pictures, but ", beside.size(),
                              " lie beside the row"));
  }
  std::vector<std::string> paths;
  for (std::size_t i = 0; i < beside.size(); ++i) {
    const auto is_named = [&](const PictureBeside& picture) {
      return in_order ? &picture == &beside[i]
                      : picture.name == std::filesystem::path(row->images[i]).filename().string();
    };
    const auto found = std::find_if(beside.begin(), beside.end(), is_named);
    if (found == beside.end()) {
      return Issue(row->id, "image",
                   absl::StrCat("names ", row->images[i], ", which does not lie beside the row"));
    }
    paths.push_back(found->path);
  }
  row->images = std::move(paths);
  return std::nullopt;
}

// With `beside`: of a row in an archive.
std::variant<Row, RowIssue> Parse(std::string_view text, RowStart start,
                                  const std::vector<PictureBeside>* beside) {
  if (text.size() > kMaxRowBytes) {
    return Issue(
        "", "",
        absl::StrCat("has ", text.size(), " bytes, at most ", kMaxRowBytes, " are allowed"));
  }
  json::parse_options options;
  options.max_depth = kMaxDepth;
  json::stream_parser parser(json::storage_ptr(), options);
  const std::string strict = PythonJson(text).AsJson();
  boost::system::error_code error;
  const std::size_t read = parser.write(strict.data(), strict.size(), error);
  if (!error) parser.finish(error);
  if (error) {
    return Issue("", "",
                 absl::StrCat("is not valid JSON at ", PlaceInFile(text, read, start), ": ",
                              error.message()));
  }
  const json::value value = parser.release();
  if (!value.is_object()) {
    return Issue("", "", absl::StrCat("is ", Show(value), ", expected an object"));
  }
  Row row;
  const json::object& object = value.as_object();
  row.id = ReadId(object);
  if (auto issue = ReadImages(object, &row)) return *issue;
  if (auto issue = CheckKeys(object, "", /*read=*/true, row.id)) return *issue;
  if (auto issue = ReadTurns(object, &row)) return *issue;
  if (beside != nullptr) {
    if (auto issue = UseBeside(*beside, &row)) return *issue;
  }
  if (auto issue = CheckPlaceholders(row)) return *issue;
  return row;
}

}  // namespace

std::string RowIssue::ToString() const {
  std::string text = line > 0 ? absl::StrCat(file, ":", line, ": ") : file + ": ";
  if (!id.empty()) absl::StrAppend(&text, "row '", id, "': ");
  if (!field.empty()) absl::StrAppend(&text, field, " ");
  return absl::StrCat(text, why);
}

std::variant<Row, RowIssue> ParseRow(std::string_view text, RowStart start) {
  return Parse(text, start, nullptr);
}

std::variant<Row, RowIssue> ParseRow(std::string_view text,
                                     const std::vector<PictureBeside>& beside) {
  return Parse(text, {}, &beside);
}

std::variant<Row, RowIssue> CaptionRow(const std::string& id, std::string_view caption,
                                       const std::vector<PictureBeside>& beside) {
  const absl::string_view said = absl::StripAsciiWhitespace(AbslView(caption));
  if (said.empty()) return Issue(id, "", "is empty, expected a caption");
  if (!IsValidUtf8(StdView(said))) return Issue(id, "", "is not valid UTF-8");
  if (beside.empty()) return Issue(id, "", "has no picture beside it");
  Row row;
  row.id = id;
  std::string marks;
  for (const PictureBeside& picture : beside) {
    row.images.push_back(picture.path);
    absl::StrAppend(&marks, marks.empty() ? "" : "\n", AbslView(kImagePlaceholder));
  }
  row.turns = {{Speaker::kHuman, std::move(marks)}, {Speaker::kGpt, std::string(said)}};
  if (auto issue = CheckPlaceholders(row)) return *issue;
  return row;
}

std::int32_t CountWords(const Row& row) {
  std::int32_t words = 0;
  for (const Turn& turn : row.turns) {
    bool inside = false;
    for (const char c : turn.text) {
      const bool space = c == ' ' || c == '\n' || c == '\t' || c == '\r';
      if (!space && !inside) ++words;
      inside = !space;
    }
  }
  return std::max(words, 1);
}

}  // namespace llava::training
