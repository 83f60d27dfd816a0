#include "training/data/tar/picture_file.h"

#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

constexpr std::string_view kTar = ".tar";
constexpr std::string_view kMark = ".tar/#";  // between an archive's path and that of a part

// Where a part stands.
struct Place {
  std::string archive = {};
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  std::uint32_t crc = 0;
};

template <typename T>
bool TakeNumber(std::string_view* text, int base, char end, T* number) {
  const char* last = text->data() + text->size();
  const auto [at, error] = std::from_chars(text->data(), last, *number, base);
  if (error != std::errc() || at == last || *at != end) return false;
  text->remove_prefix(static_cast<std::size_t>(at + 1 - text->data()));
  return true;
}

std::optional<Place> PlaceOf(const std::string& path) {
  const std::size_t mark = path.rfind(kMark);
  if (mark == path.npos) return std::nullopt;
  Place place{.archive = path.substr(0, mark + kTar.size())};
  std::string_view rest = std::string_view(path).substr(mark + kMark.size());
  const bool is_place = TakeNumber(&rest, 10, '+', &place.offset) &&
                        TakeNumber(&rest, 10, '+', &place.size) &&
                        TakeNumber(&rest, 16, '/', &place.crc);
  return is_place ? std::optional(std::move(place)) : std::nullopt;
}

absl::StatusOr<std::string> ReadPart(const Place& place) {
  ASSIGN_OR_RETURN(const FileDescriptor file, OpenRegularFile(place.archive));
  std::string bytes(place.size, '\0');
  std::size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got = ::pread(file.get(), bytes.data() + have, bytes.size() - have,
                                static_cast<off_t>(place.offset + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, place.archive);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  const auto* data = reinterpret_cast<const Bytef*>(bytes.data());
  if (have == bytes.size() && ::crc32_z(0, data, bytes.size()) == place.crc) return bytes;
  return absl::DataLossError(
      absl::StrCat(place.archive, ": the file has changed since it was opened"));
}

}  // namespace

bool IsTar(const std::string& file) { return file.ends_with(kTar); }

std::string PathInTar(const TarPart& part) {
  const std::size_t slash = part.name.rfind('/');
  const std::string name = slash == part.name.npos ? part.name : part.name.substr(slash + 1);
  return absl::StrFormat("#%d+%d+%08x/%s", part.offset, part.size, part.crc, name);
}

bool IsInTar(const std::string& path) { return PlaceOf(path).has_value(); }

absl::StatusOr<std::string> ReadPictureFile(const std::string& path, std::size_t max_bytes) {
  const std::optional<Place> place = PlaceOf(path);
  if (!place.has_value()) return ReadFile(path, max_bytes);
  if (place->size <= max_bytes) return ReadPart(*place);
  return absl::ResourceExhaustedError(
      absl::StrCat(path, ": has ", place->size, " bytes, at most ", max_bytes, " are read"));
}

}  // namespace llava::training
