// SIGTERM and SIGINT, waited for rather than handled.
#ifndef LLAVA_SERVER_APP_SIGNALS_H_
#define LLAVA_SERVER_APP_SIGNALS_H_

namespace llava::server {

// Main thread only; created before any other thread, so that all of them leave the signals alone.
class Signals {
 public:
  Signals();

  // While something slow starts: a signal ends the process at once.
  void LetThrough();

  // Waits for the first signal; the next one ends the process at once.
  void Wait();
};

}  // namespace llava::server

#endif  // LLAVA_SERVER_APP_SIGNALS_H_
