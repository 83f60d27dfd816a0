// Over HTTP: what people say of captured answers, and how they have them forgotten, /v1/feedback.
#ifndef LLAVA_SERVER_API_HTTP_FEEDBACK_ROUTES_H_
#define LLAVA_SERVER_API_HTTP_FEEDBACK_ROUTES_H_

#include "server/api/http/router.h"
#include "server/capture/recorder.h"

namespace llava::api {

// `recorder` outlives the router; null: nothing is captured, and the routes say so. Everything that
// waits for the disk is done in the recorder's thread.
void AddFeedbackRoutes(capture::Recorder* recorder, HttpRouter* router);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_FEEDBACK_ROUTES_H_
