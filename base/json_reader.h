// Reads JSON files of a checkpoint strictly: with limits on size and depth, and with one clear
// error that names file, key, what was expected and what was found.
#ifndef LLAVA_BASE_JSON_READER_H_
#define LLAVA_BASE_JSON_READER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "boost/json/object.hpp"
#include "boost/json/value.hpp"

namespace llava {

// Where in a text the byte at `offset` stands: "line 3, column 17", both counted from 1, columns in
// bytes.
std::string PlaceInText(std::string_view text, std::size_t offset);

// Parses one JSON value, nested at most `max_depth` deep, behind a byte order mark or none.
// kInvalidArgument names line and column.
absl::StatusOr<boost::json::value> ParseJson(std::string_view text, std::size_t max_depth);

// Parses one JSON object, nested at most 32 deep. `file` only names it in errors. kInvalidArgument.
absl::StatusOr<boost::json::object> ParseJsonObject(std::string_view text, std::string_view file);

// The same of a file of at most 64 MiB; also the errors of ReadFile (base/file.h).
absl::StatusOr<boost::json::object> ReadJsonObject(const std::string& path);

// A view of one object whose getters check type and range. A missing key and an explicit null both
// mean the default, as in Hugging Face configurations. The first error is kept (shared with the
// readers of nested objects) and every getter then returns its default, so that a caller reads all
// it wants and checks status() once. Refers to the object: it must outlive the reader. Not
// thread-safe.
class JsonReader {
 public:
  JsonReader(std::string file, const boost::json::object& object);

  // Also when it is null.
  bool Contains(std::string_view key) const;
  bool Has(std::string_view key) const { return Find(key) != nullptr; }
  // The value, or nullptr when missing or null.
  const boost::json::value* Find(std::string_view key) const;

  std::int64_t Int(std::string_view key, std::int64_t otherwise, std::int64_t low,
                   std::int64_t high);
  // Finite and within [low, high]. Integers are accepted.
  double Double(std::string_view key, double otherwise, double low, double high);
  bool Bool(std::string_view key, bool otherwise);
  std::string String(std::string_view key, std::string otherwise);
  // One integer or a list of 1 to `max_count` integers.
  std::vector<std::int64_t> IntOrInts(std::string_view key, std::vector<std::int64_t> otherwise,
                                      std::int64_t low, std::int64_t high, std::size_t max_count);
  // The nested object; a reader of an empty one when missing.
  JsonReader Object(std::string_view key);
  // An object that is an element of the list at `key`.
  JsonReader Element(std::string_view key, const boost::json::object& object) const;

  // Records "<file>: <path of key>: expected <expected>, found <value>", unless an error is there.
  void Fail(std::string_view key, std::string_view expected);

  const absl::Status& status() const { return *status_; }
  const std::string& file() const { return file_; }

 private:
  JsonReader(std::string file, const boost::json::object& object, std::string prefix,
             std::shared_ptr<absl::Status> status);

  std::string file_;
  const boost::json::object* object_;
  std::string prefix_;  // "text_config." for a nested object
  std::shared_ptr<absl::Status> status_;
};

}  // namespace llava

#endif  // LLAVA_BASE_JSON_READER_H_
