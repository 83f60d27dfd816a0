// A sheet of texts as the bytes of an XLSX file.
#ifndef LLAVA_TRAINING_EVALUATE_BENCHMARKS_SPREADSHEET_H_
#define LLAVA_TRAINING_EVALUATE_BENCHMARKS_SPREADSHEET_H_

#include <string>
#include <vector>

namespace llava::training {

// What a spreadsheet program, openpyxl and pandas read: one sheet; texts that are whole numbers of
// up to 15 digits are numbers, "" is an empty cell. Control characters that XML cannot have are
// left out.
std::string SpreadsheetFile(const std::vector<std::vector<std::string>>& rows);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_BENCHMARKS_SPREADSHEET_H_
