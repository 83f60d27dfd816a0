// Recognises folders and files that people take for checkpoints of LLaVA.
#ifndef LLAVA_MODEL_CHECKPOINT_FOREIGN_FOLDER_H_
#define LLAVA_MODEL_CHECKPOINT_FOREIGN_FOLDER_H_

#include <string>
#include <vector>

namespace llava::model {

// Sentences about what is at `path` when it is no checkpoint, or not all of one: a GGUF file or a
// folder of them, weights for other programs alone, the folder around checkpoints, an adapter
// without the weights that it belongs to, files that are pointers of Git LFS, a file in place of a
// folder, nothing. Empty where nothing of that kind is seen. Reads the beginnings of files: not for
// an RPC thread.
std::vector<std::string> DescribeForeignFolder(const std::string& path);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_FOREIGN_FOLDER_H_
