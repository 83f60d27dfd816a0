// How many CPUs this process may use, and how many threads should compute on them.
#ifndef LLAVA_BASE_MACHINE_CPU_COUNT_H_
#define LLAVA_BASE_MACHINE_CPU_COUNT_H_

#include <string>

namespace llava {

// The lesser of the CPUs that the process may run on (its affinity) and of the quotas of its
// control groups (version 2, or cpu of version 1), which may be fractions: 1.5. More than 0. `root`
// stands before /proc and /sys, for tests.
double AvailableCpus(const std::string& root = "");

// Threads for `cpus`: a started CPU counts, since threads that wait give their cores away.
int ThreadsOnCpus(double cpus);

// What OMP_NUM_THREADS says when it is a number above 0, else the threads on the available CPUs.
int ComputeThreads();

}  // namespace llava

#endif  // LLAVA_BASE_MACHINE_CPU_COUNT_H_
