// The sentencepiece trainer behind our own types: its header clashes with abseil's string_view, so
// only the .cc of this file includes it, and no abseil.
#ifndef LLAVA_TRAINING_DATA_SENTENCEPIECE_TRAINING_H_
#define LLAVA_TRAINING_DATA_SENTENCEPIECE_TRAINING_H_

#include <string>
#include <vector>

namespace llava::training {

// BPE with byte fallback, <unk> 0, <s> 1, </s> 2. Fills `model` with the bytes of a
// tokenizer.model; returns what went wrong, or "".
std::string TrainSentencepiece(const std::vector<std::string>& lines, int vocabulary,
                               std::string* model);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_SENTENCEPIECE_TRAINING_H_
