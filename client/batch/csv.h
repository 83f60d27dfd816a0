// Comma-separated values as RFC 4180 has them.
#ifndef LLAVA_CLIENT_BATCH_CSV_H_
#define LLAVA_CLIENT_BATCH_CSV_H_

#include <string>
#include <string_view>
#include <vector>

namespace llava::client {

// One record with its line break; fields that need it are quoted.
std::string CsvRecord(const std::vector<std::string>& fields);

// Takes the first whole record off `text`: its fields, or none when the record does not end.
// A line break inside quotes belongs to its field.
std::vector<std::string> TakeCsvRecord(std::string_view* text);

}  // namespace llava::client

#endif  // LLAVA_CLIENT_BATCH_CSV_H_
