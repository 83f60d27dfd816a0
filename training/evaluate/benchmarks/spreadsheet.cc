#include "training/evaluate/benchmarks/spreadsheet.h"

#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/utf8_stream.h"

namespace llava::training {
namespace {

constexpr char kXml[] = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";
constexpr std::string_view kOffice = "http://schemas.openxmlformats.org/";
constexpr std::size_t kMostDigits = 15;  // that a double has

// Little-endian.
void Append(std::uint32_t value, int bytes, std::string* out) {
  for (int i = 0; i < bytes; ++i) out->push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

// A zip file of entries that are stored as they are.
class StoredZip {
 public:
  void Add(const std::string& name, const std::string& bytes) {
    const auto offset = static_cast<std::uint32_t>(out_.size());
    std::string header;
    Append(20, 2, &header);      // version that is needed
    Append(0x0800, 2, &header);  // names are UTF-8
    Append(0, 2, &header);       // stored
    Append(0, 2, &header);       // time
    Append(0x21, 2, &header);    // 1980-01-01
    const auto* data = reinterpret_cast<const Bytef*>(bytes.data());
    Append(static_cast<std::uint32_t>(crc32_z(0, data, bytes.size())), 4, &header);
    Append(static_cast<std::uint32_t>(bytes.size()), 4, &header);
    Append(static_cast<std::uint32_t>(bytes.size()), 4, &header);
    Append(static_cast<std::uint32_t>(name.size()), 2, &header);
    Append(0, 2, &header);  // extra
    Append(0x04034b50, 4, &out_);
    absl::StrAppend(&out_, header, name, bytes);
    Append(0x02014b50, 4, &directory_);
    Append(20, 2, &directory_);  // version that made it
    absl::StrAppend(&directory_, header);
    for (const int field : {2, 2, 2, 4})
      Append(0, field, &directory_);  // no comment, no attributes
    Append(offset, 4, &directory_);
    absl::StrAppend(&directory_, name);
    ++entries_;
  }

  std::string Finish() && {
    const auto offset = static_cast<std::uint32_t>(out_.size());
    absl::StrAppend(&out_, directory_);
    Append(0x06054b50, 4, &out_);
    Append(0, 4, &out_);  // one disk
    Append(entries_, 2, &out_);
    Append(entries_, 2, &out_);
    Append(static_cast<std::uint32_t>(directory_.size()), 4, &out_);
    Append(offset, 4, &out_);
    Append(0, 2, &out_);  // no comment
    return std::move(out_);
  }

 private:
  std::string out_, directory_;
  std::uint32_t entries_ = 0;
};

std::string Escaped(const std::string& text) {
  std::string escaped;
  for (const char c : Utf8Repair(text)) {
    if (c == '&') {
      escaped += "&amp;";
    } else if (c == '<') {
      escaped += "&lt;";
    } else if (c == '>') {
      escaped += "&gt;";
    } else if (static_cast<unsigned char>(c) >= ' ' || c == '\n' || c == '\t') {
      escaped += c;
    }
  }
  return escaped;
}

bool IsNumber(const std::string& text) {
  const bool digits =
      !text.empty() && text.size() <= kMostDigits &&
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits && (text[0] != '0' || text.size() == 1);
}

std::string CellOf(const std::string& text) {
  if (text.empty()) return "<c/>";
  if (IsNumber(text)) return absl::StrCat("<c><v>", text, "</v></c>");
  return absl::StrCat("<c t=\"inlineStr\"><is><t xml:space=\"preserve\">", Escaped(text),
                      "</t></is></c>");
}

std::string Relation(absl::string_view type, absl::string_view target) {
  return absl::StrCat(kXml, "<Relationships xmlns=\"", AbslView(kOffice),
                      "package/2006/relationships\"><Relationship Id=\"rId1\" Type=\"",
                      AbslView(kOffice), "officeDocument/2006/relationships/", type, "\" Target=\"",
                      target, "\"/></Relationships>");
}

}  // namespace

std::string SpreadsheetFile(const std::vector<std::vector<std::string>>& rows) {
  const std::string main = absl::StrCat(AbslView(kOffice), "spreadsheetml/2006/main");
  std::string sheet = absl::StrCat(kXml, "<worksheet xmlns=\"", main, "\"><sheetData>");
  for (const std::vector<std::string>& row : rows) {
    absl::StrAppend(&sheet, "<row>");
    for (const std::string& text : row) absl::StrAppend(&sheet, CellOf(text));
    absl::StrAppend(&sheet, "</row>");
  }
  absl::StrAppend(&sheet, "</sheetData></worksheet>");
  const std::string types = absl::StrCat(
      kXml, "<Types xmlns=\"", AbslView(kOffice), "package/2006/content-types\">",
      "<Default Extension=\"rels\" "
      "ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/>",
      "<Default Extension=\"xml\" "
      "ContentType=\"application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml\"/>",
      "<Override PartName=\"/xl/workbook.xml\" "
      "ContentType=\"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml\"/"
      ">",
      "</Types>");
  const std::string workbook = absl::StrCat(
      kXml, "<workbook xmlns=\"", main, "\" xmlns:r=\"", AbslView(kOffice),
      "officeDocument/2006/relationships\"><sheets><sheet name=\"Sheet1\" sheetId=\"1\" "
      "r:id=\"rId1\"/></sheets></workbook>");
  StoredZip zip;
  zip.Add("[Content_Types].xml", types);
  zip.Add("_rels/.rels", Relation("officeDocument", "xl/workbook.xml"));
  zip.Add("xl/workbook.xml", workbook);
  zip.Add("xl/_rels/workbook.xml.rels", Relation("worksheet", "worksheets/sheet1.xml"));
  zip.Add("xl/worksheets/sheet1.xml", sheet);
  return std::move(zip).Finish();
}

}  // namespace llava::training
