// What SIGHUP does: certificates, tokens, who has agreed to be captured, and the log's level are
// read again while the daemon runs.
#ifndef LLAVA_SERVER_APP_HANG_UP_H_
#define LLAVA_SERVER_APP_HANG_UP_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "rpc/auth.h"
#include "rpc/grpc_server.h"
#include "server/api/http/server.h"
#include "server/capture/recorder.h"
#include "server/config/config.h"
#include "server/engine/admission_gate.h"
#include "server/observe/log.h"
#include "server/observe/metrics.h"

namespace llava::server {

// Whom the new files are given to.
struct RereadTargets {
  const observe::Log* log;
  observe::Metrics* metrics;
  rpc::Auth* auth;
  engine::AdmissionGate* admission;
  rpc::GrpcServer* grpc;
  api::HttpServer* http;        // null: none
  capture::Recorder* recorder;  // null: nothing is captured
};

// Names of the options that differ between the two and that are read at the start only.
std::vector<std::string> ChangesForARestart(const Config& started, const Config& now);

// `started` is what the daemon runs with, `now` what file, variables and flags say at this moment.
// Connections stay; certificates are used by handshakes, tokens by calls, that come afterwards.
// What is no good is named in the log, and what was there before stays; so do TLS and tokens
// themselves where the one configuration has them and the other has not. Blocks for reading files.
void ReadAgain(const Config& started, const absl::StatusOr<Config>& now,
               const RereadTargets& targets);

}  // namespace llava::server

#endif  // LLAVA_SERVER_APP_HANG_UP_H_
