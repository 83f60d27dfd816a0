// A file of a client in a store of batches, as an upload brings it.
#ifndef LLAVA_TESTS_SUPPORT_BATCH_FILE_H_
#define LLAVA_TESTS_SUPPORT_BATCH_FILE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/batches/store.h"

namespace llava::test {

inline absl::StatusOr<batches::File> AddFile(batches::BatchStore& store, batches::File file,
                                             absl::string_view content, std::int64_t lifetime = 0) {
  const absl::StatusOr<std::string> id = store.BeginFile(file.tenant);
  if (!id.ok()) return id.status();
  const absl::Status appended = store.AppendFile(*id, content);
  if (!appended.ok()) {
    store.DropFile(*id);
    return appended;
  }
  absl::StatusOr<batches::File> added = store.EndFile(*id, std::move(file), lifetime);
  if (!added.ok()) store.DropFile(*id);
  return added;
}

}  // namespace llava::test

#endif  // LLAVA_TESTS_SUPPORT_BATCH_FILE_H_
