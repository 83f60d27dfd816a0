// The directory of a zip archive whose records are stored without compression, as torch.save
// writes them. Format: PKWARE's APPNOTE.TXT, sections 4.3 and 4.5.3 (ZIP64).
#ifndef LLAVA_MODEL_CHECKPOINT_ZIP_ARCHIVE_H_
#define LLAVA_MODEL_CHECKPOINT_ZIP_ARCHIVE_H_

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace llava::model {

// Records by name; views into `file`. DATA_LOSS when the directory at the end is not there or leads
// out of the file, UNIMPLEMENTED for a compressed or encrypted record. Pure; safe on any bytes.
absl::StatusOr<std::map<std::string, std::string_view, std::less<>>> ReadZip(std::string_view file);

// True when the file begins like an archive.
bool LooksLikeZip(std::string_view file);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_ZIP_ARCHIVE_H_
