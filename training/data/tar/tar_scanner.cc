#include "training/data/tar/tar_scanner.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

// Of a name, or of what a pax header says.
constexpr std::uint64_t kMaxExtension = std::uint64_t{1} << 20;

TarEntry::Kind KindOf(char type) {
  switch (type) {
    case '0':
    case '7':
      return TarEntry::Kind::kFile;
    case '1':
    case '2':
      return TarEntry::Kind::kLink;
    case '5':
      return TarEntry::Kind::kFolder;
    default:
      return TarEntry::Kind::kOther;
  }
}

// Links, devices, folders and pipes: whatever their headers say of a size.
bool HasNoData(char type) { return type >= '1' && type <= '6'; }

}  // namespace

absl::Status TarScanner::Error(const absl::Status& status) const {
  if (status.ok()) return status;
  return Annotate(status, absl::StrCat("byte ", offset_ / kTarBlock * kTarBlock));
}

absl::Status TarScanner::Feed(std::string_view bytes) {
  while (!bytes.empty()) RETURN_IF_ERROR(Consume(&bytes));
  return absl::OkStatus();
}

absl::Status TarScanner::Consume(std::string_view* bytes) {
  const std::uint64_t wanted = state_ == State::kHeader ? kTarBlock - block_.size() : remaining_;
  const std::string_view piece = bytes->substr(0, std::min<std::uint64_t>(wanted, bytes->size()));
  bytes->remove_prefix(piece.size());
  if (state_ == State::kHeader) {
    block_.append(piece);
    if (block_.size() == kTarBlock) RETURN_IF_ERROR(Error(OnHeader()));
    offset_ += piece.size();
    return absl::OkStatus();
  }
  offset_ += piece.size();
  remaining_ -= piece.size();
  if (state_ == State::kExtension) block_.append(piece);
  if (state_ == State::kData && !passes_over_) RETURN_IF_ERROR(handler_.data(piece));
  return remaining_ > 0 ? absl::OkStatus() : EndData();
}

// The last byte of a header is still to be counted.
absl::Status TarScanner::OnHeader() {
  absl::StatusOr<std::optional<TarHeader>> parsed = ParseTarHeader(block_);
  if (!parsed.ok() && has_ended_) return Annotate(parsed.status(), "behind the archive's end");
  RETURN_IF_ERROR(parsed.status());
  std::optional<TarHeader> header = *std::move(parsed);
  block_.clear();
  has_ended_ = !header.has_value();
  if (has_ended_) {
    pax_ = {};
    long_name_.clear();
    return absl::OkStatus();
  }
  const bool is_extension = header->type == 'x' || header->type == 'L' || header->type == 'K';
  if (!is_extension) return BeginMember(*std::move(header));
  if (header->size > kMaxExtension) {
    return absl::InvalidArgumentError(absl::StrCat("a name or pax header of ", header->size,
                                                   " bytes, at most ", kMaxExtension, " are read"));
  }
  extension_ = header->type;
  state_ = State::kExtension;
  remaining_ = header->size;
  padding_ = (kTarBlock - header->size % kTarBlock) % kTarBlock;
  return remaining_ > 0 ? absl::OkStatus() : EndData();
}

absl::Status TarScanner::BeginMember(TarHeader header) {
  const PaxRecords pax = std::exchange(pax_, {});
  const std::string long_name = std::exchange(long_name_, "");
  passes_over_ = header.type == 'g';  // says something of all members, which nobody needs
  entry_.kind = pax.is_sparse ? TarEntry::Kind::kOther : KindOf(header.type);
  entry_.name = pax.path.value_or(long_name.empty() ? std::move(header.name) : long_name);
  entry_.size = HasNoData(header.type) ? 0 : pax.size.value_or(header.size);
  entry_.offset = (offset_ / kTarBlock + 1) * kTarBlock;
  remaining_ = entry_.size;
  padding_ = (kTarBlock - entry_.size % kTarBlock) % kTarBlock;
  state_ = State::kData;
  if (!passes_over_) RETURN_IF_ERROR(handler_.begin(entry_));
  return remaining_ > 0 ? absl::OkStatus() : EndData();
}

// Of a member's data, of an extension's, or of the padding behind either.
absl::Status TarScanner::EndData() {
  if (state_ == State::kExtension) RETURN_IF_ERROR(OnExtension());
  if (state_ == State::kData && !passes_over_) RETURN_IF_ERROR(handler_.end());
  remaining_ = std::exchange(padding_, 0);
  state_ = remaining_ > 0 ? State::kPadding : State::kHeader;
  return absl::OkStatus();
}

absl::Status TarScanner::OnExtension() {
  const std::string data = std::exchange(block_, "");
  if (extension_ == 'L') long_name_ = data.substr(0, data.find('\0'));
  if (extension_ != 'x') return absl::OkStatus();
  absl::StatusOr<PaxRecords> records = ParsePax(data);
  if (!records.ok()) return Error(records.status());
  pax_ = *std::move(records);
  return absl::OkStatus();
}

absl::Status TarScanner::Finish() {
  if (has_ended_ && block_.find_first_not_of('\0') == block_.npos) return absl::OkStatus();
  if (state_ == State::kPadding || (state_ == State::kHeader && block_.empty())) {
    return absl::DataLossError(absl::StrCat("the archive ends at byte ", offset_,
                                            " without its end, expected two blocks of zeros: "
                                            "members may be missing"));
  }
  const bool within = state_ == State::kData && !passes_over_;
  return absl::DataLossError(absl::StrCat("the archive ends at byte ", offset_, " within ",
                                          within ? entry_.name : "a header"));
}

}  // namespace llava::training
