// The files of server/api/web, put into the program by the build (server/api/web/embed.cmake).
#ifndef LLAVA_SERVER_API_WEB_WEB_FILES_H_
#define LLAVA_SERVER_API_WEB_WEB_FILES_H_

#include <span>

#include "absl/strings/string_view.h"

namespace llava::api {

struct WebFile {
  absl::string_view name;
  absl::string_view content;
};

// They live as long as the program.
std::span<const WebFile> WebFiles();

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_WEB_WEB_FILES_H_
