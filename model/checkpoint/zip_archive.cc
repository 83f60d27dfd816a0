#include "model/checkpoint/zip_archive.h"

#include <cstdint>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/byte_reader.h"
#include "base/status_macros.h"

namespace llava::model {
namespace {

constexpr std::uint32_t kLocalSignature = 0x04034b50;
constexpr std::uint32_t kEntrySignature = 0x02014b50;
constexpr std::uint32_t kEndSignature = 0x06054b50;
constexpr std::uint32_t kEnd64Signature = 0x06064b50;
constexpr std::uint32_t kLocator64Signature = 0x07064b50;
constexpr std::size_t kEndBytes = 22;
constexpr std::size_t kLocator64Bytes = 20;
constexpr std::size_t kMaxComment = 65535;
constexpr std::uint32_t kIn64 = 0xFFFFFFFFu;  // the real value is in the ZIP64 field
constexpr std::uint16_t kZip64Field = 1;

absl::Status Truncated(std::string_view what) {
  return absl::DataLossError(
      absl::StrCat("the zip archive is damaged or truncated: ", std::string(what)));
}

struct Directory {
  std::uint64_t count = 0;
  std::uint64_t offset = 0;
};

std::optional<std::size_t> FindEnd(std::string_view file) {
  if (file.size() < kEndBytes) return std::nullopt;
  const std::size_t last = file.size() - kEndBytes;
  const std::size_t first = last > kMaxComment ? last - kMaxComment : 0;
  for (std::size_t at = last + 1; at-- > first;) {
    if (ByteReader(file.substr(at)).U32() == kEndSignature) return at;
  }
  return std::nullopt;
}

absl::StatusOr<Directory> Read64(std::string_view file, std::size_t end) {
  if (end < kLocator64Bytes) return Truncated("no ZIP64 locator");
  ByteReader locator(file.substr(end - kLocator64Bytes));
  if (locator.U32() != kLocator64Signature) return Truncated("no ZIP64 locator");
  locator.Skip(4);
  const auto at = locator.U64();
  if (at > file.size()) return Truncated("the ZIP64 end record lies outside");
  ByteReader record(file.substr(at));
  if (record.U32() != kEnd64Signature) return Truncated("no ZIP64 end record");
  record.Skip(8 + 2 + 2 + 4 + 4 + 8);
  Directory directory;
  directory.count = record.U64();
  record.Skip(8);
  directory.offset = record.U64();
  if (!record.ok()) return Truncated("the ZIP64 end record");
  return directory;
}

absl::StatusOr<Directory> FindDirectory(std::string_view file) {
  const auto end = FindEnd(file);
  if (!end.has_value()) return Truncated("no directory at its end");
  ByteReader record(file.substr(*end + 10));
  const auto count = record.U16();
  record.Skip(4);
  const auto offset = record.U32();
  if (count == 0xFFFF || offset == kIn64) return Read64(file, *end);
  return Directory{.count = count, .offset = offset};
}

struct Entry {
  std::string name;
  std::uint16_t flags = 0;
  std::uint16_t method = 0;
  std::uint64_t packed = 0;
  std::uint64_t size = 0;
  std::uint64_t local = 0;  // offset of the local header
};

// ZIP64: 8-byte values of those fields that did not fit, in this order.
bool ReadExtra(std::string_view extra, Entry& entry) {
  ByteReader reader(extra);
  while (reader.remaining() >= 4) {
    const auto id = reader.U16();
    const std::string_view field = reader.Take(reader.U16());
    if (id != kZip64Field) continue;
    ByteReader values(field);
    if (entry.size == kIn64) entry.size = values.U64();
    if (entry.packed == kIn64) entry.packed = values.U64();
    if (entry.local == kIn64) entry.local = values.U64();
    return values.ok();
  }
  return reader.ok();
}

absl::StatusOr<Entry> ReadEntry(ByteReader& reader) {
  Entry entry;
  const auto signature = reader.U32();
  if (signature != kEntrySignature) return Truncated("an entry of the directory");
  reader.Skip(4);
  entry.flags = reader.U16();
  entry.method = reader.U16();
  reader.Skip(8);
  entry.packed = reader.U32();
  entry.size = reader.U32();
  const auto name_size = reader.U16();
  const auto extra_size = reader.U16();
  const auto comment_size = reader.U16();
  reader.Skip(8);
  entry.local = reader.U32();
  entry.name = std::string(reader.Take(name_size));
  const bool extra_ok = ReadExtra(reader.Take(extra_size), entry);
  reader.Skip(comment_size);
  if (!reader.ok() || !extra_ok) return Truncated("an entry of the directory");
  return entry;
}

absl::StatusOr<std::string_view> Record(std::string_view file, const Entry& entry) {
  if (entry.method != 0 || (entry.flags & 1) != 0 || entry.packed != entry.size) {
    return absl::UnimplementedError(absl::StrCat("the record \"", entry.name,
                                                 "\" is compressed or encrypted, expected stored "
                                                 "bytes as torch.save writes them"));
  }
  if (entry.local > file.size()) return Truncated(entry.name);
  ByteReader header(file.substr(entry.local));
  if (header.U32() != kLocalSignature) return Truncated(entry.name);
  header.Skip(22);
  const auto name_size = header.U16();
  const auto extra_size = header.U16();
  header.Skip(std::uint64_t{name_size} + extra_size);
  const std::string_view bytes = header.Take(entry.size);
  if (!header.ok()) return Truncated(entry.name);
  return bytes;
}

}  // namespace

bool LooksLikeZip(std::string_view file) { return ByteReader(file).U32() == kLocalSignature; }

absl::StatusOr<std::map<std::string, std::string_view, std::less<>>> ReadZip(
    std::string_view file) {
  ASSIGN_OR_RETURN(const Directory directory, FindDirectory(file));
  if (directory.offset > file.size()) return Truncated("the directory lies outside");
  std::map<std::string, std::string_view, std::less<>> records;
  ByteReader reader(file.substr(directory.offset));
  for (std::uint64_t i = 0; i < directory.count; ++i) {
    ASSIGN_OR_RETURN(const Entry entry, ReadEntry(reader));
    ASSIGN_OR_RETURN(const std::string_view bytes, Record(file, entry));
    if (!records.emplace(entry.name, bytes).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("the zip archive has two records named \"", entry.name, "\""));
    }
  }
  return records;
}

}  // namespace llava::model
