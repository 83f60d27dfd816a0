// /metrics, /healthz and /readyz.
#ifndef LLAVA_SERVER_API_HTTP_STATUS_ROUTES_H_
#define LLAVA_SERVER_API_HTTP_STATUS_ROUTES_H_

#include <functional>
#include <optional>
#include <string>

#include "server/api/http/router.h"
#include "server/observe/health.h"

namespace llava::api {

struct StatusSources {
  // The exposition: Prometheus' text, or OpenMetrics where the scraper prefers it.
  std::function<std::string(bool open_metrics)> metrics;
  std::function<observe::Health::State()> ready;
};

// /healthz says 200 as long as the process answers; /readyz 200 or 503 with the reason. `role` is
// what /metrics asks for.
void AddStatusRoutes(const StatusSources& sources, std::optional<rpc::Role> role,
                     HttpRouter* router);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_STATUS_ROUTES_H_
