// The files that benchmarks come in: JSON lines, JSON, and tables of tab-separated values.
#ifndef LLAVA_TRAINING_EVALUATE_BENCHMARKS_BENCH_FILES_H_
#define LLAVA_TRAINING_EVALUATE_BENCHMARKS_BENCH_FILES_H_

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace llava::training {

// The file of one of these names (the first that there is) in `folder` or below it. NOT_FOUND names
// them; INVALID_ARGUMENT when two files below have the name and none lies in the folder itself.
absl::StatusOr<std::string> FindBenchFile(const std::string& folder,
                                          const std::vector<std::string>& names);

// `given`, or else what FindBenchFile finds.
absl::StatusOr<std::string> GivenOrFound(const std::string& given, const std::string& folder,
                                         const std::vector<std::string>& names);

// One object a line; empty lines are passed over. Errors name file and line.
absl::StatusOr<std::vector<boost::json::object>> ReadBenchLines(const std::string& file);

absl::StatusOr<boost::json::value> ReadJsonFile(const std::string& file);

// The objects of a file's list, or of the list at `key` of its object.
absl::StatusOr<std::vector<boost::json::object>> ReadJsonObjects(const std::string& file,
                                                                 std::string_view key);

// The text at `key`; a number as it is written. INVALID_ARGUMENT names the key and `place`.
absl::StatusOr<std::string> TextAt(const boost::json::object& object, std::string_view key,
                                   const std::string& place);
// The same, "" when it is not there or null.
std::string TextOr(const boost::json::object& object, std::string_view key);
// As text, for messages and comparisons: 12 and "12" are the same.
std::string IdText(const boost::json::value& id);

// A table with a line of names, read as pandas reads it: fields may be quoted and hold tabs, line
// ends and doubled quotes.
struct BenchTable {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;  // each with a field a column

  // The place of a column, -1 without one.
  std::int64_t Column(std::string_view name) const;
};
absl::StatusOr<BenchTable> ParseTabSeparated(std::string_view text, const std::string& source);

// What pandas takes for no value, and what the original does.
bool IsNoValue(std::string_view field);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_BENCHMARKS_BENCH_FILES_H_
