// The Jinja texts of LLaVA checkpoints on the hub, for checkpoints that lost theirs. (Those of the
// original code are ChatTemplate::Jinja, in the same source.)
#ifndef LLAVA_MODEL_TEXT_HUB_TEMPLATES_H_
#define LLAVA_MODEL_TEXT_HUB_TEMPLATES_H_

#include <string>
#include <string_view>

namespace llava::model {

// hf, hf_joined, hf_next_mistral, hf_next_mistral_s, hf_next_llama3 or hf_onevision (see
// ChatTemplate::Names); empty for another name.
std::string HubTemplate(std::string_view name);

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_HUB_TEMPLATES_H_
