// A low-rank adapter of a model, as far as scheduling knows it: a name for caches.
#ifndef LLAVA_SERVER_SCHEDULING_ADAPTER_H_
#define LLAVA_SERVER_SCHEDULING_ADAPTER_H_

#include "base/digest.h"

namespace llava::scheduling {

// Executors know the concrete type of their loader. Immutable and shared: by who loaded it, and by
// each request that is computed with it, so that it is gone only when the last of them has ended.
class Adapter {
 public:
  virtual ~Adapter() = default;
  virtual const Digest& digest() const = 0;  // of all that it computes
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_ADAPTER_H_
