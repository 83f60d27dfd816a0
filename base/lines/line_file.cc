#include "base/lines/line_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/durable_file.h"
#include "base/status_macros.h"

namespace llava {
namespace {

constexpr std::size_t kPiece = std::size_t{256} << 10;
constexpr std::size_t kMostKept = 4 * kPiece;  // of a buffer, after a long line

absl::Status ErrnoError(const char* doing, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot ", doing, " ", path));
}

}  // namespace

absl::StatusOr<LineReader> LineReader::Open(const std::string& path) {
  ASSIGN_OR_RETURN(FileDescriptor file, OpenRegularFile(path));
  return LineReader(path, std::move(file));
}

absl::StatusOr<std::optional<Line>> LineReader::Next() {
  std::size_t searched = begin_;
  std::size_t end = buffer_.find('\n', searched);
  while (end == buffer_.npos && !at_end_) {
    buffer_.erase(0, std::exchange(begin_, 0));
    searched = buffer_.size();
    buffer_.resize(searched + kPiece);
    const ssize_t got = read(file_.get(), buffer_.data() + searched, kPiece);
    buffer_.resize(searched + static_cast<std::size_t>(got > 0 ? got : 0));
    if (got < 0 && errno != EINTR) return ErrnoError("read", path_);
    at_end_ = got == 0;
    end = buffer_.find('\n', searched);
  }
  if (begin_ == buffer_.size()) return std::nullopt;
  Line line;
  line.has_end = end != buffer_.npos;
  const std::size_t size = (line.has_end ? end : buffer_.size()) - begin_;
  line.text = buffer_.substr(begin_, size);
  line.number = ++number_;
  line.offset = offset_;
  line.bytes = static_cast<std::int64_t>(size) + (line.has_end ? 1 : 0);
  begin_ += static_cast<std::size_t>(line.bytes);
  offset_ += line.bytes;
  if (buffer_.capacity() > kMostKept && buffer_.size() - begin_ <= kPiece) {
    buffer_ = buffer_.substr(std::exchange(begin_, 0));
    buffer_.shrink_to_fit();
  }
  return line;
}

absl::StatusOr<std::string> ReadBytes(const FileDescriptor& file, const std::string& path,
                                      std::int64_t offset, std::int64_t most) {
  std::string bytes(static_cast<std::size_t>(most), '\0');
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = pread(file.get(), bytes.data() + done, bytes.size() - done,
                              offset + static_cast<std::int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError("read", path);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  bytes.resize(done);
  return bytes;
}

absl::StatusOr<LineAppender> LineAppender::Lock(const std::string& path) {
  const bool is_new = !IsThere(path);
  FileDescriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!file.is_open()) return ErrnoError("open", path);
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::UnavailableError(absl::StrCat(path, ": another process writes it"));
  }
  if (is_new) RETURN_IF_ERROR(SyncName(path));
  return LineAppender(path, std::move(file));
}

absl::Status LineAppender::CutAt(std::int64_t size) {
  if (ftruncate(file_.get(), size) != 0) return ErrnoError("cut", path_);
  size_ = size;
  return absl::OkStatus();
}

absl::StatusOr<LineAppender> LineAppender::Open(
    const std::string& path, const std::function<bool(absl::string_view)>& keep) {
  ASSIGN_OR_RETURN(LineAppender file, Lock(path));
  ASSIGN_OR_RETURN(LineReader reader, LineReader::Open(path));
  std::int64_t size = 0;
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<Line> line, reader.Next());
    if (!line.has_value() || !line->has_end || !keep(line->text)) break;
    size += line->bytes;
  }
  RETURN_IF_ERROR(file.CutAt(size));
  return file;
}

absl::StatusOr<LineAppender> LineAppender::Open(const std::string& path, std::int64_t max_bytes,
                                                std::vector<std::string>* lines) {
  std::error_code error;
  const std::uintmax_t bytes = std::filesystem::file_size(path, error);
  if (!error && bytes > static_cast<std::uintmax_t>(max_bytes)) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, ": ", bytes, " bytes, expected at most ", max_bytes));
  }
  return Open(path, [&](absl::string_view line) {
    lines->emplace_back(line);
    return true;
  });
}

absl::StatusOr<LineAppender> LineAppender::OpenAt(const std::string& path, std::int64_t size) {
  ASSIGN_OR_RETURN(LineAppender file, Lock(path));
  RETURN_IF_ERROR(file.CutAt(size));
  return file;
}

absl::Status LineAppender::Append(absl::string_view line) {
  LLAVA_CHECK(line.find('\n') == line.npos);
  const std::string text = absl::StrCat(line, "\n");
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t written = pwrite(file_.get(), text.data() + done, text.size() - done,
                                   size_ + static_cast<std::int64_t>(done));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const absl::Status status = ErrnoError("write", path_);
      if (ftruncate(file_.get(), size_) != 0) return ErrnoError("cut", path_);
      return status;
    }
    done += static_cast<std::size_t>(written);
  }
  size_ += static_cast<std::int64_t>(done);
  dirty_ = true;
  return absl::OkStatus();
}

absl::Status LineAppender::Sync() {
  if (dirty_ && fdatasync(file_.get()) != 0) return ErrnoError("sync", path_);
  dirty_ = false;
  return absl::OkStatus();
}

absl::Status LineAppender::AppendDurably(absl::string_view line) {
  const std::int64_t before = size_;
  RETURN_IF_ERROR(Append(line));
  const absl::Status synced = Sync();
  if (!synced.ok()) RETURN_IF_ERROR(CutAt(before));
  return synced;
}

}  // namespace llava
