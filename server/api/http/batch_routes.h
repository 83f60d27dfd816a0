// Over HTTP: OpenAI's /v1/files and /v1/batches.
#ifndef LLAVA_SERVER_API_HTTP_BATCH_ROUTES_H_
#define LLAVA_SERVER_API_HTTP_BATCH_ROUTES_H_

#include "server/api/http/router.h"
#include "server/batches/service.h"

namespace llava::api {

// `service` outlives the router; null: files and batches are off, and the routes say so. Everything
// is looked up and written in the service's thread, never in an io thread.
void AddBatchRoutes(batches::BatchService* service, HttpRouter* router);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_BATCH_ROUTES_H_
