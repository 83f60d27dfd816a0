// The files beside the weights that say how pictures are read and where they stand in a prompt, as
// transformers' processors read them.
#ifndef LLAVA_TRAINING_ASSEMBLE_PROCESSOR_FILES_H_
#define LLAVA_TRAINING_ASSEMBLE_PROCESSOR_FILES_H_

#include <string>

#include "absl/status/status.h"
#include "model/config/config.h"
#include "model/image/preprocess.h"

namespace llava::training {

// Writes preprocessor_config.json and processor_config.json of a LLaVA, LLaVA-1.6 or OneVision into
// `folder`. The errors of WriteFile.
absl::Status WriteProcessorFiles(const model::LlavaConfig& config,
                                 const model::PreprocessSettings& settings,
                                 const std::string& folder);

// The first of the two alone.
absl::Status WritePreprocessorFile(const model::LlavaConfig& config,
                                   const model::PreprocessSettings& settings,
                                   const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_ASSEMBLE_PROCESSOR_FILES_H_
