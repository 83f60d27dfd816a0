// Pictures by one path, whether they are files or lie in a tar archive.
#ifndef LLAVA_TRAINING_DATA_TAR_PICTURE_FILE_H_
#define LLAVA_TRAINING_DATA_TAR_PICTURE_FILE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "training/data/tar/tar_samples.h"

namespace llava::training {

// Whether a data file is taken for a tar archive: its name ends in ".tar".
bool IsTar(const std::string& file);

// The path of a part below its archive: "#1536+20480+0a1b2c3d/000001.jpg". Behind the archive's own
// path and a slash it is what ReadPictureFile takes.
std::string PathInTar(const TarPart& part);

// Whether it is such a path.
bool IsInTar(const std::string& path);

// The bytes of a picture, read where they stand. RESOURCE_EXHAUSTED: more than `max_bytes`.
// DATA_LOSS: the archive holds others there than when PathInTar named them. Else the errors of
// ReadFile (base/file.h). Any thread.
absl::StatusOr<std::string> ReadPictureFile(const std::string& path, std::size_t max_bytes);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_TAR_PICTURE_FILE_H_
