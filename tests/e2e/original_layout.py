"""The golden checkpoint as the original code (github.com/haotian-liu/LLaVA) would have saved it, with its CLIP folder."""
import json
import shutil

from published import read_tensors, write_tensors

NAMES = (("language_model.model.", "model."), ("language_model.lm_head", "lm_head"),
         ("multi_modal_projector.linear_1", "model.mm_projector.0"), ("multi_modal_projector.linear_2", "model.mm_projector.2"))


def write(golden, folder, tower_folder):
    config = json.loads((golden / "config.json").read_text())
    pieces = config["image_token_index"]  # <image> and what follows it are not in the original's vocabulary
    decoder, tower = {}, {}
    for name, tensor in read_tensors(golden / "model.safetensors").items():
        if name.startswith("vision_tower."):
            tower[name.removeprefix("vision_tower.")] = tensor
            continue
        if name.endswith(("embed_tokens.weight", "lm_head.weight")):
            tensor = tensor[:pieces]
        for ours, original in NAMES:
            name = name.replace(ours, original)
        decoder[name] = tensor
    for place, tensors in ((folder, decoder), (tower_folder, tower)):
        place.mkdir()
        write_tensors(place / "model.safetensors", tensors)
    shutil.copy(golden / "tokenizer.model", folder)
    (tower_folder / "config.json").write_text(json.dumps(config["vision_config"]))
    text = {key: config["text_config"][key] for key in (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
        "rms_norm_eps", "rope_theta", "max_position_embeddings")}
    (folder / "config.json").write_text(json.dumps({
        **text, "model_type": "llava_llama", "architectures": ["LlavaLlamaForCausalLM"], "vocab_size": pieces,
        "_name_or_path": "lmsys/vicuna-7b-v1.5", "image_aspect_ratio": "pad", "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_start_end": False, "mm_vision_select_feature": "patch", "mm_vision_tower": tower_folder.name,
        "mm_vision_select_layer": config["vision_feature_layer"]}))
