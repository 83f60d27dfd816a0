#include "server/app/hang_up.h"

#include <array>
#include <boost/json/array.hpp>

#include "absl/strings/string_view.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "rpc/tls_files.h"
#include "server/app/app_options.h"
#include "server/config/config_table.h"

namespace llava::server {
namespace {

constexpr std::array<absl::string_view, 7> kReadAgain = {
    "tls_certificate", "tls_key",          "tls_client_ca", "tokens_file",
    "capture_texts",   "capture_pictures", "log_level"};

bool IsReadAgain(const Option& option) {
  for (const absl::string_view name : kReadAgain) {
    if (option.name == name) return true;
  }
  return false;
}

absl::Status NeedsRestart(absl::string_view options, bool before, bool now) {
  if (before == now) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(options, before ? ": no longer set" : ": newly set", ", which takes a restart"));
}

absl::Status ReadTlsAgain(const Config& started, const Config& now, const RereadTargets& targets) {
  RETURN_IF_ERROR(NeedsRestart("tls_certificate", !started.tls_certificate.empty(),
                               !now.tls_certificate.empty()));
  RETURN_IF_ERROR(
      NeedsRestart("tls_client_ca", !started.tls_client_ca.empty(), !now.tls_client_ca.empty()));
  if (now.tls_certificate.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const rpc::TlsFiles tls, ReadTls(now));
  // HTTP first: it looks at the whole chain, gRPC only when it needs it.
  if (targets.http != nullptr) RETURN_IF_ERROR(targets.http->ReplaceTls(tls));
  targets.grpc->ReplaceTls(tls);
  targets.metrics->certificate_expiry.Set(static_cast<double>(tls.expires));
  return absl::OkStatus();
}

absl::Status ReadTokensAgain(const Config& started, const Config& now,
                             const RereadTargets& targets) {
  RETURN_IF_ERROR(
      NeedsRestart("tokens_file", !started.tokens_file.empty(), !now.tokens_file.empty()));
  ASSIGN_OR_RETURN(const rpc::Auth auth, ReadAuth(now));
  targets.auth->Replace(auth);
  targets.admission->LeaveRoom(auth.has_several_tenants());
  return absl::OkStatus();
}

void Tell(const RereadTargets& targets, const char* what, const absl::Status& status) {
  if (status.ok()) {
    targets.log->Info("read again", {{"what", what}});
  } else {
    targets.log->Error("not read again, what was there stays",
                       {{"what", what}, {"reason", MessageOf(status)}});
  }
}

}  // namespace

std::vector<std::string> ChangesForARestart(const Config& started, const Config& now) {
  std::vector<std::string> changed;
  for (const Section& section : Sections()) {
    for (const Option& option : section.options) {
      if (IsReadAgain(option) || FormatValue(option, started) == FormatValue(option, now)) continue;
      changed.emplace_back(option.name);
    }
  }
  return changed;
}

void ReadAgain(const Config& started, const absl::StatusOr<Config>& now,
               const RereadTargets& targets) {
  if (!now.ok()) return Tell(targets, "configuration", now.status());
  Tell(targets, "TLS files", ReadTlsAgain(started, *now, targets));
  Tell(targets, "tokens", ReadTokensAgain(started, *now, targets));
  if (targets.recorder != nullptr) targets.recorder->SetAgreed(ToAgreedTenants(*now));
  boost::json::array changed;
  for (const std::string& name : ChangesForARestart(started, *now)) changed.emplace_back(name);
  if (!changed.empty()) {
    targets.log->Warning("options have changed that are read at the start only",
                         {{"options", std::move(changed)}});
  }
  targets.log->SetLevel(now->log_level);
}

}  // namespace llava::server
