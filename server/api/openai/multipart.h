// The body of a form (multipart/form-data, RFC 7578) as its parts: how images come as raw bytes.
#ifndef LLAVA_SERVER_API_OPENAI_MULTIPART_H_
#define LLAVA_SERVER_API_OPENAI_MULTIPART_H_

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace llava::api {

// All point into the body.
struct FormPart {
  absl::string_view name;
  absl::string_view content;
  absl::string_view file_name;  // empty: none
};

// Whether a Content-Type says that the body is a form.
bool IsForm(absl::string_view content_type);

// The parts in their order. INVALID_ARGUMENT when the boundary is missing, a part has no name, or
// the body ends before its last boundary; also for more than kMaxFormParts parts.
inline constexpr std::size_t kMaxFormParts = 1025;
absl::StatusOr<std::vector<FormPart>> ParseForm(absl::string_view content_type,
                                                absl::string_view body);

// The beginning of a part, or the next bytes of the part that began last.
struct FormPiece {
  bool begins = false;
  std::string name = {};
  std::string file_name = {};      // empty: none
  absl::string_view content = {};  // valid until the next Feed
};

// The same of a body that comes in pieces: holds what of it cannot be told apart yet, at most a
// part's header or a boundary beside the last piece. Movable; not thread-safe.
class FormReader {
 public:
  // INVALID_ARGUMENT: no boundary.
  static absl::StatusOr<FormReader> Make(absl::string_view content_type);

  void Feed(absl::string_view bytes);

  // Nothing: more bytes are needed, or the last boundary has come. INVALID_ARGUMENT as of
  // ParseForm.
  absl::StatusOr<std::optional<FormPiece>> Next();

  // No more bytes will come. INVALID_ARGUMENT: the last boundary has not.
  absl::Status Finish() const;

 private:
  enum class State { kBegin, kBoundary, kHeader, kContent, kEnd };

  explicit FormReader(std::string separator) : separator_(std::move(separator)) {}
  absl::string_view rest() const { return absl::string_view(buffer_).substr(begin_); }
  absl::StatusOr<bool> PassFirstBoundary();
  absl::StatusOr<bool> PassBoundary();
  absl::StatusOr<std::optional<FormPiece>> NextHead();
  std::optional<FormPiece> NextContent();

  std::string separator_;  // between the parts
  std::string buffer_;
  std::size_t begin_ = 0;  // in it, of what is left
  std::size_t parts_ = 0;
  State state_ = State::kBegin;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_OPENAI_MULTIPART_H_
