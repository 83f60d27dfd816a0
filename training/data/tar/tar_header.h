// The 512 bytes in front of each member of a tar archive, and the records that extend them: ustar
// (POSIX.1-1988), pax (POSIX.1-2001), GNU's long names and numbers.
#ifndef LLAVA_TRAINING_DATA_TAR_TAR_HEADER_H_
#define LLAVA_TRAINING_DATA_TAR_TAR_HEADER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace llava::training {

inline constexpr std::size_t kTarBlock = 512;

struct TarHeader {
  std::string name;        // prefix and name; long names stand in front of the header
  std::uint64_t size = 0;  // bytes of data behind it, before they are padded to whole blocks
  char type = '0';         // typeflag: '0' a file, '1' and '2' links, '5' a folder, 'x', 'L', ...
};

// Nothing: a block of zeros, with which archives end. INVALID_ARGUMENT: the checksum is wrong, or
// the size is no number or above 2^62. REQUIRES: kTarBlock bytes.
absl::StatusOr<std::optional<TarHeader>> ParseTarHeader(std::string_view block);

// What a pax header says of the member behind it.
struct PaxRecords {
  std::optional<std::string> path = {};
  std::optional<std::uint64_t> size = {};
  bool is_sparse = false;  // the data has holes, which are not stored
};

// INVALID_ARGUMENT: not records "LENGTH KEY=VALUE\n".
absl::StatusOr<PaxRecords> ParsePax(std::string_view records);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_TAR_TAR_HEADER_H_
