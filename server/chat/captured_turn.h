// A call as a turn that is captured, for those tenants that have agreed to it.
#ifndef LLAVA_SERVER_CHAT_CAPTURED_TURN_H_
#define LLAVA_SERVER_CHAT_CAPTURED_TURN_H_

#include <memory>

#include "server/capture/recorder.h"
#include "server/chat/chat_call.h"

namespace llava::api {

// The turn without its answer, and without what the call does not know of the model; null when its
// tenant has not agreed, or when it is of a kind that is not captured, which is counted then. The
// pictures are copied. REQUIRES: the call was checked (CheckCall).
std::unique_ptr<capture::PendingTurn> CaptureTurn(const ChatCall& call,
                                                  capture::Recorder& recorder);

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_CAPTURED_TURN_H_
