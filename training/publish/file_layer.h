// The few file operations that publishing is made of, so that a test can fail or kill any of them.
#ifndef LLAVA_TRAINING_PUBLISH_FILE_LAYER_H_
#define LLAVA_TRAINING_PUBLISH_FILE_LAYER_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace llava::training {

// Errors carry errno's code and name the path.
class FileLayer {
 public:
  virtual ~FileLayer() = default;

  virtual absl::Status MakeFolder(const std::string& path) = 0;
  virtual absl::Status WriteFile(const std::string& path, std::string_view bytes) = 0;
  virtual absl::Status SyncFile(const std::string& path) = 0;    // its bytes are on the disk
  virtual absl::Status SyncFolder(const std::string& path) = 0;  // its names are
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status Symlink(const std::string& target, const std::string& path) = 0;
  virtual absl::Status RemoveAll(const std::string& path) = 0;
};

// The file system. Stateless, any thread.
class RealFiles : public FileLayer {
 public:
  absl::Status MakeFolder(const std::string& path) override;
  absl::Status WriteFile(const std::string& path, std::string_view bytes) override;
  absl::Status SyncFile(const std::string& path) override;
  absl::Status SyncFolder(const std::string& path) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Symlink(const std::string& target, const std::string& path) override;
  absl::Status RemoveAll(const std::string& path) override;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_PUBLISH_FILE_LAYER_H_
