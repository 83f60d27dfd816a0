// Over HTTP: OpenAI's chat completions, POST /v1/chat/completions, and the log probabilities of
// given answers, POST /v1/score.
#ifndef LLAVA_SERVER_API_HTTP_CHAT_ROUTE_H_
#define LLAVA_SERVER_API_HTTP_CHAT_ROUTE_H_

#include <string>

#include "server/api/http/image_fetcher.h"
#include "server/api/http/router.h"
#include "server/chat/chat_runner.h"

namespace llava::api {

// All outlive the router. Large bodies are read in the prepare pool, so that io threads stay free.
// `build`: which build of the daemon this is, for the fingerprint of answers.
void AddChatRoute(ChatRunner* runner, ImageFetcher* fetcher, const std::string& build,
                  HttpRouter* router);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_CHAT_ROUTE_H_
