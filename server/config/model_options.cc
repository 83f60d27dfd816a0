#include "server/config/config_sections.h"

namespace llava::server {
namespace {

constexpr absl::string_view kDtypeChoices[] = {"auto", "float32", "bfloat16"};
constexpr absl::string_view kWeightsChoices[] = {"auto", "int8", "int4", "fp8"};
constexpr absl::string_view kKvCacheChoices[] = {"auto", "int8", "fp8"};

constexpr Option kModelOptions[] = {
    {"checkpoint", &Config::checkpoint,
     "Folder of the LLaVA checkpoint to serve (config.json, safetensors, tokenizer), or of its "
     "repository in the hub's cache, of which the snapshot of refs/main is served. Empty: the "
     "daemon waits for one, by watch or by ModelService."},
    {"model_name", &Config::model_name,
     "Name that clients ask for; empty: the checkpoint's own (\"name\" in its manifest.json or "
     "config.json, the repository of a hub snapshot, else its folder), or the watched folder's, "
     "with '-' for '@' and control characters."},
    {"model_aliases", &Config::model_aliases,
     "Further names that clients may ask for it by. Answers, logs and metrics have its own name."},
    {"vision_tower", &Config::vision_tower,
     "Folder of the CLIP vision tower, for checkpoints that come without it."},
    {"chat_template", &Config::chat_template,
     "Chat template to use in place of the checkpoint's own (vicuna_v1, llava_v1, llava_v0, "
     "llava_llama_2, mistral_instruct, chatml, plain, hf, hf_joined, hf_next_mistral, "
     "hf_next_mistral_s, hf_next_llama3, hf_onevision). Empty: its own, which is executed; a "
     "checkpoint whose template fails is refused."},
    {"devices", &Config::devices,
     "One engine for each of these devices: cpu, cuda, or cuda:N; or a sum such as cuda:0+cuda:1, "
     "whose devices share each layer of one model (tensor parallelism), so that each needs room "
     "for "
     "its part only."},
    {"dtype",
     &Config::dtype,
     "Number format of the weights, and of the KV cache; auto: as they were saved, float16 as "
     "bfloat16.",
     Unit::kNone,
     {},
     kDtypeChoices},
    {"weights",
     &Config::weights,
     "Bits of the weights: int8 halves their memory and what each token reads; int4, on CPUs, "
     "quarters them in the language model's layers (int8 elsewhere) and costs accuracy; fp8, on "
     "GPUs of compute capability 8.9 and more, halves them and computes with activations of 8 bits "
     "too. On GPUs they are those of the language model's layers only. All are made while the "
     "checkpoint is read. auto: as it holds them, its numbers in dtype; never fewer bits by "
     "itself, "
     "because answers change.",
     Unit::kNone,
     {},
     kWeightsChoices},
    {"kv_cache",
     &Config::kv_cache,
     "Bits of the KV cache: int8, on CPUs, holds keys and values as codes with a scale for each "
     "token and head, so that the same memory has nearly twice the tokens of bfloat16; fp8, on "
     "GPUs, as e4m3 without a scale, twice the tokens. Both cost some accuracy. auto: as dtype.",
     Unit::kNone,
     {},
     kKvCacheChoices},
    {"adapters", &Config::adapters,
     "LoRA adapters in PEFT's layout (adapter_config.json, adapter_model.safetensors) to serve "
     "beside the checkpoint, by the name that clients ask for as MODEL:NAME."},
    {"max_adapters",
     &Config::max_adapters,
     "Adapters that may be loaded at once, those of ModelService too.",
     Unit::kCount,
     {1, 4096}},
    {"adapter_bytes",
     &Config::adapter_bytes,
     "Memory that adapters may take, of all devices; those that were removed count until their "
     "last request has ended. Where adapters names some, an automatic KV cache leaves it free.",
     Unit::kBytes,
     {std::int64_t{1} << 20, std::int64_t{1} << 40}},
    {"threads",
     &Config::threads,
     "Threads that compute on the CPU. auto: as many as its affinity and the CPU quota of its "
     "control groups allow; 1 when all devices are GPUs.",
     Unit::kCount,
     {1, 1024}},
};

}  // namespace

std::span<const Option> ModelOptions() { return kModelOptions; }

}  // namespace llava::server
