#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "model/image/formats.h"

namespace llava::model {
namespace {

struct Signature {
  std::size_t offset;
  std::string_view bytes;
  std::string_view name;
};

// String literals with a zero byte carry their length.
constexpr Signature kSignatures[] = {
    {0, {"II*\0", 4}, "a TIFF picture"},
    {0, {"MM\0*", 4}, "a TIFF picture"},
    {0, {"II+\0", 4}, "a BigTIFF picture"},
    {0, {"MM\0+", 4}, "a BigTIFF picture"},
    {4, "ftypavif", "an AVIF picture"},
    {4, "ftypavis", "an AVIF picture"},
    {4, "ftyphei", "a HEIC picture"},
    {4, "ftyphev", "a HEIC picture"},
    {4, "ftypmif1", "a HEIF picture"},
    {4, "ftypmsf1", "a HEIF picture"},
    {4, "ftyp", "an MP4 video"},
    {0, {"\0\0\0\x0cjP  ", 8}, "a JPEG 2000 picture"},
    {0, "\xff\x4f\xff\x51", "a JPEG 2000 picture"},
    {0, {"\0\0\0\x0cJXL ", 8}, "a JPEG XL picture"},
    {0, "\xff\x0a", "a JPEG XL picture"},
    {8, "AVI ", "an AVI video"},
    {8, "WAVE", "a WAV sound"},
    {0, {"\0\0\1\0", 4}, "an ICO picture"},
    {0, "8BPS", "a Photoshop picture"},
    {0, "qoif", "a QOI picture"},
    {0, "#?RADIANCE", "a Radiance HDR picture"},
    {0, "v/1\x01", "an OpenEXR picture"},
    {0, "DDS ", "a DDS picture"},
    {0, "%PDF", "a PDF document"},
    {0, "%!PS", "a PostScript document"},
    {0, "PK\x03\x04", "a ZIP archive"},
    {0, "\x1f\x8b", "gzip-compressed data"},
    {0, "\x1a\x45\xdf\xa3", "a Matroska or WebM video"},
};

bool IsText(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char c) {
    return (c >= ' ' && c != '\x7f') || c == '\n' || c == '\r' || c == '\t' || (c & 0x80) != 0;
  });
}

// SVG begins with its element or with an XML declaration, a comment or a document type before it.
std::string NameText(std::string_view bytes) {
  if (bytes.find("<svg") != std::string_view::npos) return "an SVG picture";
  if (bytes.find("<html") != std::string_view::npos ||
      bytes.find("<!DOCTYPE html") != std::string_view::npos) {
    return "an HTML page";
  }
  if (bytes.substr(0, 5) == "data:") return "a data: URL, not the bytes that it encodes";
  return "text";
}

}  // namespace

std::string NameForeignFormat(std::string_view bytes) {
  if (bytes.empty()) return "no bytes at all";
  for (const Signature& signature : kSignatures) {
    if (bytes.size() >= signature.offset + signature.bytes.size() &&
        bytes.substr(signature.offset, signature.bytes.size()) == signature.bytes) {
      return std::string(signature.name);
    }
  }
  const bool netpbm = bytes.size() > 2 && bytes[0] == 'P' && bytes[1] >= '1' && bytes[1] <= '7' &&
                      (bytes[2] == '\n' || bytes[2] == ' ');
  if (netpbm) return "a PNM picture";
  const std::string_view beginning = bytes.substr(0, 1024);
  if (IsText(beginning)) return NameText(beginning);
  std::string name = "an unknown format that begins with the bytes";
  for (const char c : bytes.substr(0, 8)) {
    absl::StrAppend(&name, " ", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
  }
  return name;
}

}  // namespace llava::model
