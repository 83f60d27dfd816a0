#include "server/config/config_sections.h"

namespace llava::server {
namespace {

constexpr absl::string_view kIsolationChoices[] = {"tenant", "none"};

constexpr Option kSecurityOptions[] = {
    {"tls_certificate", &Config::tls_certificate,
     "PEM file with the certificate chain; empty: no TLS."},
    {"tls_key", &Config::tls_key, "PEM file with the certificate's private key."},
    {"tls_client_ca", &Config::tls_client_ca,
     "PEM file; clients must show a certificate that one of these signed (mTLS)."},
    {"tokens_file", &Config::tokens_file,
     "File of bearer tokens, one a line: NAME ROLES sha256:HEX, where ROLES are "
     "some of chat,admin,tenants and HEX comes from `printf %s TOKEN | sha256sum`; "
     "empty: everybody may do everything."},
    {"cache_isolation",
     &Config::cache_isolation,
     "Who shares what the prefix and picture caches hold. tenant: the requests of one tenant, so "
     "that no other can tell from counts or times what it sent. none: those of all tenants. "
     "A request's cache_salt divides both further.",
     Unit::kNone,
     {},
     kIsolationChoices},
    {"cors_origins", &Config::cors_origins,
     "Origins, such as https://example.org, whose pages may call the HTTP API from a "
     "browser; * for all."},
    {"image_url_hosts", &Config::image_url_hosts,
     "Hosts that pictures may be fetched from when a client sends an http: or https: URL: "
     "example.org, example.org:8443, *.example.org (all below it); empty: none."},
    {"image_url_networks", &Config::image_url_networks,
     "Networks, such as 10.1.0.0/16, that these hosts may be in although they are private; "
     "all other addresses that are not public are refused."},
    {"image_url_timeout",
     &Config::image_url_timeout,
     "How long fetching all pictures of a request may take.",
     Unit::kMilliseconds,
     {100, 10 * 60 * kSecond}},
};

}  // namespace

std::span<const Option> SecurityOptions() { return kSecurityOptions; }

}  // namespace llava::server
