// OpenAI's API over HTTP: /v1/chat/completions, /v1/models, /tokenize and /detokenize.
#ifndef LLAVA_SERVER_API_HTTP_OPENAI_ROUTES_H_
#define LLAVA_SERVER_API_HTTP_OPENAI_ROUTES_H_

#include "server/api/chat_runner.h"
#include "server/api/http/router.h"
#include "server/api/prepare_pool.h"

namespace llava::api {

// Both outlive the router. Large bodies are read in the prepare pool, so that io threads stay free.
void AddOpenAiRoutes(ChatRunner* runner, PreparePool* pool, HttpRouter* router);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_OPENAI_ROUTES_H_
