// The configuration as what each part of the daemon wants to know.
#ifndef LLAVA_SERVER_APP_APP_OPTIONS_H_
#define LLAVA_SERVER_APP_APP_OPTIONS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rpc/auth.h"
#include "rpc/call_guard.h"
#include "rpc/grpc_server.h"
#include "rpc/port_probe.h"
#include "rpc/tls_files.h"
#include "server/api/http/image_fetcher.h"
#include "server/api/http/server.h"
#include "server/app/app.h"
#include "server/batches/service.h"
#include "server/capture/recorder.h"
#include "server/chat/chat_runner.h"
#include "server/config/config.h"
#include "server/registry/registry.h"
#include "server/scheduling/admission.h"

namespace llava::server {

std::string ModelName(const Config& config);
// Whether each alias is a name, and one that nothing else has, and each adapter's is one.
absl::Status CheckModelNames(const Config& config);
// Whether each address that is listened on or connected to is one; INVALID_ARGUMENT names the
// option.
absl::Status CheckAddresses(const Config& config);
absl::StatusOr<rpc::TlsFiles> ReadTls(const Config& config);
absl::StatusOr<rpc::Auth> ReadAuth(const Config& config);

scheduling::AdmissionOptions ToAdmissionOptions(const Config& config);
api::ChatRunner::Options ToRunnerOptions(const Config& config);
rpc::CallGuard::Limits ToGuardLimits(const Config& config);
rpc::GrpcOptions ToGrpcOptions(const Config& config, const rpc::TlsFiles& tls);
// How many connections the HTTP API may have when the process may open `open_files`: `wanted`, but
// kOwnFiles and a quarter of the others are left to all else, so that the metrics port still
// answers (and what is read for it can be opened) while HTTP and gRPC have all that they may have.
inline constexpr std::int64_t kOwnFiles = 64;
std::int64_t ConnectionsWithin(std::int64_t wanted, std::int64_t open_files);

api::HttpOptions ToHttpOptions(const Config& config, const std::string& listen,
                               const rpc::TlsFiles& tls);

// Those of gRPC and HTTP. Not the metrics port: a replica that answers is not to be taken out of
// service because nobody can watch it, and whoever watches it notices.
std::vector<rpc::ProbedPort> ToProbedPorts(const Config& config, const App::Ports& ports);

// INVALID_ARGUMENT names the wrong host or network.
absl::StatusOr<api::FetchOptions> ToFetchOptions(const Config& config);

batches::BatchService::Options ToBatchOptions(const Config& config);
capture::Recorder::Options ToRecorderOptions(const Config& config);
capture::AgreedTenants ToAgreedTenants(const Config& config);
registry::RegistryOptions ToRegistryOptions(const Config& config);

}  // namespace llava::server

#endif  // LLAVA_SERVER_APP_APP_OPTIONS_H_
