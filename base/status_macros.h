// RETURN_IF_ERROR and ASSIGN_OR_RETURN for absl::Status and absl::StatusOr.
#ifndef LLAVA_BASE_STATUS_MACROS_H_
#define LLAVA_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace llava {

// The same code with `context` in front of the message: "loading model.safetensors: <message>".
inline absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(absl::string_view(context.data(), context.size()),
                                                  ": ", status.message()));
}

}  // namespace llava

#define LLAVA_CONCAT_INNER(a, b) a##b
#define LLAVA_CONCAT(a, b) LLAVA_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expr)                      \
  do {                                             \
    absl::Status llava_status_ = (expr);           \
    if (!llava_status_.ok()) return llava_status_; \
  } while (false)

// ASSIGN_OR_RETURN(auto value, Expression());
#define ASSIGN_OR_RETURN(lhs, expr) \
  LLAVA_ASSIGN_OR_RETURN(LLAVA_CONCAT(llava_statusor_, __LINE__), lhs, expr)
#define LLAVA_ASSIGN_OR_RETURN(statusor, lhs, expr) \
  auto statusor = (expr);                           \
  if (!statusor.ok()) return statusor.status();     \
  lhs = std::move(statusor).value()

#endif  // LLAVA_BASE_STATUS_MACROS_H_
