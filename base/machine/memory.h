// How much memory this process can still take.
#ifndef LLAVA_BASE_MACHINE_MEMORY_H_
#define LLAVA_BASE_MACHINE_MEMORY_H_

#include <cstdint>
#include <string>

namespace llava {

// Bytes: the lesser of what the machine has (MemAvailable) and of what the limits of the process'
// control groups (version 2, or memory of version 1) leave, file pages that can be given back
// included. The largest number when the system does not say. `root` stands before /proc and /sys,
// for tests.
std::int64_t AvailableMemory(const std::string& root = "");

}  // namespace llava

#endif  // LLAVA_BASE_MACHINE_MEMORY_H_
