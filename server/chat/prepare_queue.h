// What waits for a prepare thread, and who is next: the tenant that has had least of the threads'
// time, so that one who sends pictures without end delays himself.
#ifndef LLAVA_SERVER_CHAT_PREPARE_QUEUE_H_
#define LLAVA_SERVER_CHAT_PREPARE_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/clock.h"
#include "server/scheduling/fair_share.h"

namespace llava::api {

// Not thread-safe. Jobs of one tenant are handed out in the order in which they came, texts before
// pictures only to who asks for texts alone.
class PrepareQueue {
 public:
  using Job = std::function<void()>;
  // A job that was handed out; its tenant is charged by Done.
  struct Taken {
    std::string tenant;
    Job job;
  };

  // REQUIRES: capacity > 0.
  explicit PrepareQueue(std::size_t capacity);

  // False, with nothing changed, when the tenant's jobs would be more than are left for all others:
  // a tenant alone has half of the capacity, and another one finds room even then.
  bool TryPush(const std::string& tenant, Job job);

  // Part of a job that was taken: always has room, since its whole was let in.
  void PushPicture(const std::string& tenant, Job job);

  // The oldest job of the tenant that has had least; of two, of whom fewer jobs are being done.
  // Nothing when no job waits, or no text and `texts_only`.
  std::optional<Taken> Pop(bool texts_only);

  // The job took so much of a thread's time. REQUIRES: it was taken, and is told once.
  void Done(const std::string& tenant, Duration cpu_time);

  std::size_t waiting() const { return waiting_; }

 private:
  struct Entry {
    std::uint64_t number;
    Job job;
  };
  struct Line {
    scheduling::Tenant* share = nullptr;  // its counter is in nanoseconds
    std::deque<Entry> texts;
    std::deque<Entry> pictures;
    int running = 0;

    std::size_t waiting() const { return texts.size() + pictures.size(); }
    std::deque<Entry>* Oldest(bool texts_only);
  };

  void Push(const std::string& tenant, Job job, std::deque<Entry> Line::* queue);

  const std::size_t capacity_;
  std::size_t waiting_ = 0;
  std::uint64_t last_number_ = 0;
  scheduling::FairShare shares_;
  std::map<std::string, Line> lines_;  // of tenants with a job that waits or is being done
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_PREPARE_QUEUE_H_
