// Finds the members of a tar archive while its bytes go by: no member is held, whatever size the
// archive says that it has.
#ifndef LLAVA_TRAINING_DATA_TAR_TAR_SCANNER_H_
#define LLAVA_TRAINING_DATA_TAR_TAR_SCANNER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "training/data/tar/tar_header.h"

namespace llava::training {

struct TarEntry {
  enum class Kind {
    kFile,  // its bytes stand in the archive, at `offset`
    kFolder,
    kLink,   // to another member or file
    kOther,  // a device, a file with holes
  };
  Kind kind = Kind::kFile;
  std::string name;
  std::uint64_t offset = 0;  // of its first byte in the archive
  std::uint64_t size = 0;
};

// Not thread-safe. Feed() the archive in pieces of any size, then Finish().
class TarScanner {
 public:
  // Of each member in order: `begin`, its bytes in pieces, `end`. What they return ends the pass.
  struct Handler {
    std::function<absl::Status(const TarEntry&)> begin;
    std::function<absl::Status(std::string_view)> data;
    std::function<absl::Status()> end;
  };

  explicit TarScanner(Handler handler) : handler_(std::move(handler)) {}

  // INVALID_ARGUMENT names the place: no header where one has to be, a broken one, a name of more
  // than a mebibyte. Behind an archive's end (a block of zeros) another may begin, as cat(1) joins
  // them: it is read like the first.
  absl::Status Feed(std::string_view bytes);

  // DATA_LOSS: the archive, or the last of those that were joined, ends within a member or a
  // header, or without a block of zeros: cut between two members it would look whole. Writers put
  // two there; the second hides no member.
  absl::Status Finish();

 private:
  enum class State { kHeader, kExtension, kData, kPadding };

  absl::Status Consume(std::string_view* bytes);
  absl::Status OnHeader();
  absl::Status OnExtension();
  absl::Status BeginMember(TarHeader header);
  absl::Status EndData();
  // With the place of the block that is at fault.
  absl::Status Error(const absl::Status& status) const;

  Handler handler_;
  State state_ = State::kHeader;
  std::uint64_t offset_ = 0;     // of the next byte
  std::uint64_t remaining_ = 0;  // of the data, or of the padding
  std::uint64_t padding_ = 0;    // behind the data
  std::string block_;            // the header so far, or an extension's data
  char extension_ = 0;           // 'x', 'L', ...: what block_ is
  bool passes_over_ = false;     // data of no member
  bool has_ended_ = false;       // nothing but zeros since a block of them
  TarEntry entry_;
  // What stands in front of the next member's header.
  PaxRecords pax_;
  std::string long_name_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_TAR_TAR_SCANNER_H_
