// Memory for what every step reads from end to end: weights and the KV cache.
#ifndef LLAVA_MODEL_KERNELS_CPU_LARGE_PAGES_H_
#define LLAVA_MODEL_KERNELS_CPU_LARGE_PAGES_H_

#include <ATen/core/Tensor.h>

namespace llava::model {

// An uninitialised CPU tensor, aligned to 64 bytes. From 2 MiB on it lies in pages of 2 MiB where
// the system gives them: a loop that reads 4 KiB pages one after the other waits for address
// translation a third of its time. From 64 KiB on its memory goes back to the system as soon as it
// is freed. Throws c10::Error when memory is short.
at::Tensor EmptyInLargePages(at::IntArrayRef sizes, at::ScalarType dtype);

}  // namespace llava::model

#endif  // LLAVA_MODEL_KERNELS_CPU_LARGE_PAGES_H_
