// The folders of a recipe's runs: `output`, and when a finished run there had other inputs,
// output/anew-2, output/anew-3, ...
#ifndef LLAVA_TRAINING_RECIPE_RUN_FOLDERS_H_
#define LLAVA_TRAINING_RECIPE_RUN_FOLDERS_H_

#include <string>

namespace llava::training {

// Of the run `number`, from 1 on.
std::string RunFolderOf(const std::string& output, int number);

// The number of the newest run, 1 when there is none; older ones may have been removed.
int NewestRun(const std::string& output);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RECIPE_RUN_FOLDERS_H_
