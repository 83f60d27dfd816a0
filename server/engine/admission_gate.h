// The thread-safe door in front of everything: a request gets a ticket from what its headers say
// (bytes, pixels), before anything of it is decoded, adds its tokens once they are known, and gives
// the ticket back when it ends.
#ifndef LLAVA_SERVER_ENGINE_ADMISSION_GATE_H_
#define LLAVA_SERVER_ENGINE_ADMISSION_GATE_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/scheduling/admission.h"

namespace llava::engine {

class AdmissionGate;

// A place in the daemon. Movable; gives back what it holds when it is destroyed. Its methods are
// for one thread at a time.
class AdmissionTicket {
 public:
  AdmissionTicket() = default;  // holds nothing
  AdmissionTicket(AdmissionTicket&& other) noexcept { *this = std::move(other); }
  AdmissionTicket& operator=(AdmissionTicket&& other) noexcept;
  ~AdmissionTicket() { Release(); }

  // More of the same request: OK, or the errors of Admission::Reserve and nothing added.
  absl::Status Add(const scheduling::AdmissionCost& cost);

  // Of what it holds, what is not needed any more. REQUIRES: it holds so much.
  void GiveBack(const scheduling::AdmissionCost& cost);

  void Release();

 private:
  friend class AdmissionGate;
  AdmissionTicket(AdmissionGate* gate, std::string tenant, scheduling::AdmissionCost cost)
      : gate_(gate), tenant_(std::move(tenant)), cost_(cost) {}

  AdmissionGate* gate_ = nullptr;
  std::string tenant_;
  scheduling::AdmissionCost cost_;
};

// Thread-safe; outlives its tickets. One for all engines of the daemon.
class AdmissionGate {
 public:
  // REQUIRES: Validate(options) is OK. `clock` outlives the gate.
  AdmissionGate(const scheduling::AdmissionOptions& options, const Clock* clock)
      : clock_(clock), admission_(options) {}

  // Errors of Admission::Reserve; UNAVAILABLE when closed.
  absl::StatusOr<AdmissionTicket> Enter(const std::string& tenant,
                                        const scheduling::AdmissionCost& cost);

  // Of scheduling::Admission: whether tenants leave room for others, from now on.
  void LeaveRoom(bool leave);

  // Nothing enters any more (drain).
  void Close();

  scheduling::AdmissionCost held() const;

 private:
  friend class AdmissionTicket;
  absl::Status Add(const std::string& tenant, const scheduling::AdmissionCost& cost,
                   const scheduling::AdmissionCost& already);
  void Release(const std::string& tenant, const scheduling::AdmissionCost& cost);

  const Clock* const clock_;
  mutable Mutex mutex_;
  scheduling::Admission admission_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace llava::engine

#endif  // LLAVA_SERVER_ENGINE_ADMISSION_GATE_H_
