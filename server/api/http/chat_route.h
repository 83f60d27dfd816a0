// OpenAI's chat completions over HTTP: POST /v1/chat/completions.
#ifndef LLAVA_SERVER_API_HTTP_CHAT_ROUTE_H_
#define LLAVA_SERVER_API_HTTP_CHAT_ROUTE_H_

#include "server/api/http/image_fetcher.h"
#include "server/api/http/router.h"
#include "server/chat/chat_runner.h"

namespace llava::api {

// All outlive the router. Large bodies are read in the prepare pool, so that io threads stay free.
void AddChatRoute(ChatRunner* runner, ImageFetcher* fetcher, HttpRouter* router);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_CHAT_ROUTE_H_
