// Which model and version a client asks for.
#ifndef LLAVA_SERVER_CHAT_MODEL_CHOICE_H_
#define LLAVA_SERVER_CHAT_MODEL_CHOICE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/registry/served_model.h"

namespace llava::api {

// `name` is a model's name or alias, whose version the directory chooses, or NAME@VERSION: one of
// the versions that answer now, by its beginning (kMinVersionDigits hex digits or more). NOT_FOUND
// and FAILED_PRECONDITION as ModelDirectory::Find.
inline constexpr std::size_t kMinVersionDigits = 8;
absl::StatusOr<std::shared_ptr<const registry::ServedModel>> ChooseModel(
    registry::ModelDirectory& models, absl::string_view name, absl::string_view key);

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_MODEL_CHOICE_H_
