// A folder of published versions as the publisher leaves it (training/publish/publish.h): one
// folder a version, named so that later ones sort later, and the link `latest`.
#ifndef LLAVA_SERVER_REGISTRY_PUBLISHED_H_
#define LLAVA_SERVER_REGISTRY_PUBLISHED_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/digest.h"

namespace llava::registry {

// Others write to these folders: nothing here throws, and nothing waits for what is no regular
// file.

// Where `root`/latest points; nothing when there is no such link.
std::optional<std::string> ReadLatestLink(const std::string& root);

// Every folder with a manifest.json that is a regular file, the newest (by name) first.
std::vector<std::string> ListVersions(const std::string& root);

// A text that changes when a file directly in `dir` comes, goes, grows or is written again.
std::string FolderFingerprint(const std::string& dir);

// A version that was rolled back is remembered beside the versions, in `root`/.rolled-back/VERSION,
// for this daemon after a restart and for others that watch the same folder: why it was rolled
// back (empty when the disk was full then), and nothing for others. Errors are those of the file
// system; a folder that cannot be written to is a common one.
std::optional<std::string> ReadRollbackNote(const std::string& root, const Digest& version);
absl::Status WriteRollbackNote(const std::string& root, const Digest& version,
                               const std::string& reason);
void DeleteRollbackNote(const std::string& root, const Digest& version);

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_PUBLISHED_H_
