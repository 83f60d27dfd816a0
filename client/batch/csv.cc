#include "client/batch/csv.h"

namespace llava::client {

std::string CsvRecord(const std::vector<std::string>& fields) {
  std::string record;
  for (const std::string& field : fields) {
    if (&field != &fields.front()) record += ',';
    if (field.find_first_of("\",\r\n") == field.npos) {
      record += field;
      continue;
    }
    record += '"';
    for (const char byte : field) record.append(byte == '"' ? 2 : 1, byte);
    record += '"';
  }
  return record += "\r\n";
}

std::vector<std::string> TakeCsvRecord(std::string_view* text) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (std::size_t i = 0; i < text->size(); ++i) {
    const char byte = (*text)[i];
    if (quoted) {
      const bool doubled = byte == '"' && i + 1 < text->size() && (*text)[i + 1] == '"';
      if (byte != '"' || doubled) fields.back() += byte;
      if (doubled) ++i;
      quoted = byte != '"' || doubled;
    } else if (byte == '"') {
      quoted = true;
    } else if (byte == ',') {
      fields.emplace_back();
    } else if (byte == '\n') {
      text->remove_prefix(i + 1);
      return fields;
    } else if (byte != '\r') {
      fields.back() += byte;
    }
  }
  return {};
}

}  // namespace llava::client
