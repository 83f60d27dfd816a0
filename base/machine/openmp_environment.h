// What OpenMP's library reads from the environment when it is loaded: how many threads it has and
// how they wait.
#ifndef LLAVA_BASE_MACHINE_OPENMP_ENVIRONMENT_H_
#define LLAVA_BASE_MACHINE_OPENMP_ENVIRONMENT_H_

namespace llava {

// Call first in main. Where the environment does not say them yet, sets OMP_NUM_THREADS to
// ComputeThreads() and GOMP_SPINCOUNT to some microseconds, and starts this program again in this
// process, since the library has been loaded by now. By default its threads spin for milliseconds
// at every barrier, and with busy neighbours or under a CPU quota that is most of the time that the
// process has. Returns when there was nothing to set, or where it cannot be done (no /proc): then
// the program is only slower.
void TellOpenMp(char** argv);

}  // namespace llava

#endif  // LLAVA_BASE_MACHINE_OPENMP_ENVIRONMENT_H_
