#include "training/data/row_scanner.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "training/data/row.h"

namespace llava::training {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

}  // namespace

absl::Status RowScanner::Error(std::string_view why) const {
  return absl::InvalidArgumentError(
      absl::StrCat("line ", line_, ", column ", Column(), ": ", AbslView(why)));
}

absl::Status RowScanner::Feed(std::string_view bytes) {
  for (const char c : bytes) {
    RETURN_IF_ERROR(Step(c));
    ++offset_;
    if (c == '\n') {
      ++line_;
      line_start_ = offset_;
    }
  }
  return absl::OkStatus();
}

absl::Status RowScanner::Step(char c) {
  if (state_ != State::kRow) return StepOutside(c);
  // A row of JSONL is one line whatever is in it, so that one broken row spoils no other.
  const bool ends_before = !array_ && c == '\n';
  // In an array a bare word or number (a row that is no object) ends where the next thing begins.
  const bool bare_ends = array_ && depth_ == 0 && !in_string_ && (c == ',' || c == ']');
  if (ends_before || bare_ends) {
    RETURN_IF_ERROR(EndRow());
    return StepOutside(c);
  }
  ++place_.size;
  if (place_.size <= kMaxRowBytes) row_.push_back(c);
  if (array_ && EndsRowInside(c)) return EndRow();
  return absl::OkStatus();
}

absl::Status RowScanner::StepOutside(char c) {
  if (IsSpace(c) || (offset_ < 3 && state_ == State::kStart && (c & 0x80))) {
    return absl::OkStatus();  // also the UTF-8 byte order mark
  }
  if (state_ == State::kEnd) return Error("there is something behind the end of the list");
  if (state_ == State::kStart) {
    if (c != '[' && c != '{') {
      return Error(absl::StrCat("begins with '", std::string(1, c),
                                "', expected a JSON list or one JSON object a line"));
    }
    array_ = c == '[';
    state_ = State::kBetween;
    return array_ ? absl::OkStatus() : BeginRow(c);
  }
  if (!array_) return BeginRow(c);
  if (c == ']') {
    state_ = State::kEnd;
    return absl::OkStatus();
  }
  if (after_row_) {
    if (c != ',') return Error("expected ',' or ']' behind a row");
    after_row_ = false;
    return absl::OkStatus();
  }
  return BeginRow(c);
}

absl::Status RowScanner::BeginRow(char c) {
  state_ = State::kRow;
  depth_ = 0;
  in_string_ = false;
  escaped_ = false;
  place_ = {offset_, 1, line_, Column()};
  row_.assign(1, c);
  return array_ && EndsRowInside(c) ? EndRow() : absl::OkStatus();
}

absl::Status RowScanner::EndRow() {
  state_ = State::kBetween;
  after_row_ = true;
  if (place_.size > kMaxRowBytes) row_.clear();
  return on_row_(place_, row_);
}

bool RowScanner::EndsRowInside(char c) {
  if (in_string_) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
    }
    return false;
  }
  if (c == '"') in_string_ = true;
  if (c == '{' || c == '[') ++depth_;
  if (c == '}' || c == ']') return --depth_ == 0;
  return false;
}

absl::Status RowScanner::Finish() {
  if (state_ == State::kStart) return Error("is empty, expected a JSON list or JSONL");
  if (state_ == State::kRow) {
    if (array_) {
      return Error(absl::StrCat("the row that begins in line ", place_.line, " does not end"));
    }
    return EndRow();
  }
  if (array_ && state_ != State::kEnd) return Error("the list does not end, expected ']'");
  return absl::OkStatus();
}

}  // namespace llava::training
