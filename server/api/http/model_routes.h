// The models and their words over HTTP: /v1/models, /tokenize and /detokenize.
#ifndef LLAVA_SERVER_API_HTTP_MODEL_ROUTES_H_
#define LLAVA_SERVER_API_HTTP_MODEL_ROUTES_H_

#include "server/api/http/router.h"
#include "server/chat/chat_runner.h"

namespace llava::api {

// `runner` outlives the router.
void AddModelRoutes(ChatRunner* runner, HttpRouter* router);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_MODEL_ROUTES_H_
