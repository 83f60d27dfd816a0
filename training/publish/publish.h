// Makes a checkpoint visible to servers, all or nothing. A folder of versions looks like this:
//
//   v000001-3f2a9c0d11e4/   a version: number and the first digits of its name, complete and
//   verified v000002-91be00f3a7c2/ latest -> v000002-91be00f3a7c2 .publishing/            being
//   written, by one publisher at a time; never looked at
//
// Killed at any moment, `latest` names the old version or the new one, and what it names is
// complete.
#ifndef LLAVA_TRAINING_PUBLISH_PUBLISH_H_
#define LLAVA_TRAINING_PUBLISH_PUBLISH_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/checkpoint/manifest.h"
#include "training/publish/file_layer.h"

namespace llava::training {

struct PublishedVersion {
  std::string version;  // 64 hexadecimal digits: the digest of manifest.json
  std::string dir;      // root/v000002-91be00f3a7c2
};

// Writes the checkpoint's files (and probe images) into the empty folder `dir`.
using WriteCheckpoint = std::function<absl::Status(const std::string& dir)>;

// Told of a new version that is complete on the disk, before anybody else can see it. An error
// leaves everything as it was.
using BeforeVisible = std::function<absl::Status(const PublishedVersion& version)>;

// Lines for a person: that another publisher is waited for.
using OnMessage = std::function<void(const std::string& line)>;

// `manifest.files` is filled in here. Publishing what is already there only moves `latest`. A
// manifest that says why it is `rejected` leaves `latest` where it is, and a note beside the
// versions (ROOT/.rolled-back/VERSION) tells servers not to take that version by themselves.
// Waits for another publisher that is at work in `root`, which `on_message` is told first, and
// takes the number behind its version.
// The first error of a file operation or of `write`, after which the old state stands.
absl::StatusOr<PublishedVersion> Publish(
    const std::string& root, model::Manifest manifest, const WriteCheckpoint& write,
    FileLayer& files,
    const BeforeVisible& before_visible = [](const PublishedVersion&) { return absl::OkStatus(); },
    const OnMessage& on_message = [](const std::string&) {});

// What `root`/latest names; NOT_FOUND before the first version.
absl::StatusOr<PublishedVersion> LatestVersion(const std::string& root);

// Why a server or a gate has taken `version` back; nothing when none has.
std::optional<std::string> RollbackNote(const std::string& root, const std::string& version);

// Makes that note: no server takes `version` by itself any more, and it is nobody's base.
absl::Status NoteRollback(const std::string& root, const std::string& version,
                          const std::string& why, FileLayer& files);

// What servers answer with: the latest, or when that was taken back, the newest version before it
// that was not. NOT_FOUND: there is none.
absl::StatusOr<PublishedVersion> LiveVersion(const std::string& root);

// Whether `version` is there, and `latest` names it or one that was published after it.
absl::StatusOr<bool> HasBeenLatest(const std::string& root, const std::string& version);

// All complete versions, oldest first.
absl::StatusOr<std::vector<PublishedVersion>> ListVersions(const std::string& root);

// A pinned version is never deleted. NOT_FOUND: no such folder.
absl::Status SetPinned(const std::string& dir, bool pinned);

// Deletes versions beyond `keep` (at least 1) and returns their folders: first those that were
// taken back or rejected, to which nobody goes back, then the others, both from the oldest on.
// Passes over the latest, the live one, pinned ones, those that a server holds
// (model::VersionLease), and the folder `spared`. Waits as Publish does.
absl::StatusOr<std::vector<std::string>> DeleteOldVersions(
    const std::string& root, int keep, FileLayer& files, const std::string& spared = "",
    const OnMessage& on_message = [](const std::string&) {});

}  // namespace llava::training

#endif  // LLAVA_TRAINING_PUBLISH_PUBLISH_H_
