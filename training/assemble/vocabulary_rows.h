// The tables of a vocabulary that got new tokens.
#ifndef LLAVA_TRAINING_ASSEMBLE_VOCABULARY_ROWS_H_
#define LLAVA_TRAINING_ASSEMBLE_VOCABULARY_ROWS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace llava::training {

// Rows for so many tokens: the next multiple of 64, as in llava-hf's checkpoints.
int PaddedRows(int tokens);

// `table` [tokens, width] with rows behind it, `rows` in all, each of which is the mean of those of
// the table: what the original code gives to new tokens, and what transformers draws its new rows
// around. In the table's dtype; the mean is taken in fp32. REQUIRES: rows >= those of the table.
at::Tensor WithMeanRows(const at::Tensor& table, std::int64_t rows);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_ASSEMBLE_VOCABULARY_ROWS_H_
