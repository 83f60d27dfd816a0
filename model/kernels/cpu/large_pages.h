// Memory for what every step reads from end to end: weights and the KV cache.
#ifndef LLAVA_MODEL_KERNELS_CPU_LARGE_PAGES_H_
#define LLAVA_MODEL_KERNELS_CPU_LARGE_PAGES_H_

#include <ATen/core/Tensor.h>

namespace llava::model {

// An uninitialised CPU tensor, aligned to 64 bytes. Big ones lie in 2 MiB pages where the system
// gives them (a stream over 4 KiB pages waits for address translation a third of its time). All
// from 64 KiB on go back to the system when they are freed. Throws c10::Error when memory is short.
at::Tensor EmptyInLargePages(at::IntArrayRef sizes, at::ScalarType dtype);

}  // namespace llava::model

#endif  // LLAVA_MODEL_KERNELS_CPU_LARGE_PAGES_H_
