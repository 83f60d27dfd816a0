// How many files this process may have open.
#ifndef LLAVA_BASE_MACHINE_FILE_LIMIT_H_
#define LLAVA_BASE_MACHINE_FILE_LIMIT_H_

namespace llava {

// As many as it may ask for: shells and service managers give few and leave the rest to the asking.
// Connections are files, and so are the shards of a data set. Call before there are threads.
void RaiseFileLimit();

}  // namespace llava

#endif  // LLAVA_BASE_MACHINE_FILE_LIMIT_H_
