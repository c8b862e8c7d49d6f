"""Models of tokens from Hugging Face's transformers and peft, shrunk."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from oracles.real_models import Case, images, padded, token_ids

CASES: dict[str, Case] = {}
_WORDS = 20


def last(out: Any) -> torch.Tensor:
    """Three logits of the last position."""
    return out.logits[:, -1, :3]


def first(out: Any) -> torch.Tensor:
    return out.last_hidden_state[:, 0, :3]


def _add(
    name: str,
    model: str,
    config: str,
    data: Callable[[], Any],
    output: Any = "logits",
    refused: str = "",
    after: Callable[[nn.Module], nn.Module] = lambda model: model,
    needs: tuple[str, ...] = (),
    **options: Any,
) -> None:
    def make() -> tuple[nn.Module, Any]:
        library = importlib.import_module("transformers")
        settings = getattr(library, config)(**options)
        return after(getattr(library, model)(settings)), data()

    CASES[name] = Case(("transformers", *needs), make, output, refused)


def plain_tokens() -> dict[str, torch.Tensor]:
    return {"input_ids": token_ids()}


def pictures() -> dict[str, torch.Tensor]:
    return {"pixel_values": images(3, (3, 16, 16))}


_BERT = {
    "vocab_size": _WORDS, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
    "max_position_embeddings": 16, "num_labels": 2, "pad_token_id": 0,
}  # fmt: skip
_LLAMA = {**_BERT, "num_key_value_heads": 1, "use_cache": False}
_GPT = {
    "vocab_size": _WORDS, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 16, "use_cache": False,
    "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip


def with_lora(model: nn.Module, target: list[str], **options: Any) -> nn.Module:
    """Low-rank additions with random weights; PEFT begins with B = 0."""
    peft = importlib.import_module("peft")
    made = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=target, **options))
    for name, p in made.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(p)
    return made


_add("BERT, mask", "BertForSequenceClassification", "BertConfig", padded, **_BERT)
_add(
    "BERT, mask, eager",
    "BertForSequenceClassification",
    "BertConfig",
    padded,
    **_BERT,
    attn_implementation="eager",
)
_add("BERT, no mask", "BertForSequenceClassification", "BertConfig", plain_tokens, **_BERT)
_add("BERT, masked language model", "BertForMaskedLM", "BertConfig", padded, last, **_BERT)
_add(
    "RoBERTa",
    "RobertaForSequenceClassification",
    "RobertaConfig",
    padded,
    **{**_BERT, "max_position_embeddings": 20},
)
_add("ALBERT", "AlbertForSequenceClassification", "AlbertConfig", padded, **_BERT, embedding_size=4)
_add(
    "ELECTRA",
    "ElectraForSequenceClassification",
    "ElectraConfig",
    padded,
    **_BERT,
    embedding_size=4,
)
_add(
    "DistilBERT",
    "DistilBertForSequenceClassification",
    "DistilBertConfig",
    padded,
    vocab_size=_WORDS,
    dim=8,
    n_layers=2,
    n_heads=2,
    hidden_dim=12,
    max_position_embeddings=16,
    num_labels=2,
)
_add(
    "DeBERTa v2",
    "DebertaV2ForSequenceClassification",
    "DebertaV2Config",
    padded,
    **_BERT,
    relative_attention=True,
    pos_att_type=["p2c", "c2p"],
)
_add("GPT-2, last token", "GPT2LMHeadModel", "GPT2Config", plain_tokens, last, **_GPT)
_add(
    "GPT-2, all logits",
    "GPT2LMHeadModel",
    "GPT2Config",
    lambda: {"input_ids": token_ids(3, 3, 5)},
    "logits",
    **{**_GPT, "vocab_size": 5},
)
_add("GPT-2, mask", "GPT2LMHeadModel", "GPT2Config", padded, last, **_GPT)
_add(
    "GPT-NeoX", "GPTNeoXForCausalLM", "GPTNeoXConfig", plain_tokens, last, **_BERT, use_cache=False
)
_add(
    "OPT",
    "OPTForCausalLM",
    "OPTConfig",
    padded,
    last,
    vocab_size=_WORDS,
    hidden_size=8,
    num_hidden_layers=2,
    ffn_dim=12,
    num_attention_heads=2,
    max_position_embeddings=16,
    word_embed_proj_dim=8,
    use_cache=False,
)
_add(
    "BLOOM",
    "BloomForCausalLM",
    "BloomConfig",
    padded,
    last,
    vocab_size=_WORDS,
    hidden_size=8,
    n_layer=2,
    n_head=2,
    use_cache=False,
)
_add("Llama", "LlamaForCausalLM", "LlamaConfig", plain_tokens, last, **_LLAMA)
_add("Llama, mask", "LlamaForCausalLM", "LlamaConfig", padded, last, **_LLAMA)
_add(
    "Mistral", "MistralForCausalLM", "MistralConfig", plain_tokens, last, **_LLAMA, sliding_window=4
)
_add("Qwen2", "Qwen2ForCausalLM", "Qwen2Config", padded, last, **_LLAMA)
_add("Gemma", "GemmaForCausalLM", "GemmaConfig", plain_tokens, last, **_LLAMA, head_dim=4)
_add(
    "Phi", "PhiForCausalLM", "PhiConfig", plain_tokens, last, **{**_LLAMA, "num_key_value_heads": 2}
)
_add(
    "Mixtral",
    "MixtralForCausalLM",
    "MixtralConfig",
    plain_tokens,
    last,
    "does not run",
    **_LLAMA,
    num_local_experts=3,
)
_add(
    "T5 encoder",
    "T5EncoderModel",
    "T5Config",
    padded,
    first,
    vocab_size=_WORDS,
    d_model=8,
    d_kv=4,
    d_ff=12,
    num_layers=2,
    num_heads=2,
)
_add(
    "T5",
    "T5ForConditionalGeneration",
    "T5Config",
    lambda: {"input_ids": token_ids(), "decoder_input_ids": token_ids(3, 3)},
    last,
    vocab_size=_WORDS,
    d_model=8,
    d_kv=4,
    d_ff=12,
    num_layers=1,
    num_heads=2,
    use_cache=False,
)
_add(
    "BART",
    "BartForSequenceClassification",
    "BartConfig",
    lambda: {"input_ids": torch.cat([token_ids(3, 5), torch.ones(3, 1, dtype=torch.long)], 1)},
    vocab_size=_WORDS,
    d_model=8,
    encoder_layers=1,
    decoder_layers=1,
    encoder_attention_heads=2,
    decoder_attention_heads=2,
    encoder_ffn_dim=12,
    decoder_ffn_dim=12,
    max_position_embeddings=16,
    num_labels=2,
    eos_token_id=1,
    use_cache=False,
)
_add(
    "Mamba",
    "MambaForCausalLM",
    "MambaConfig",
    plain_tokens,
    last,
    "one precision",
    vocab_size=_WORDS,
    hidden_size=8,
    num_hidden_layers=1,
    state_size=4,
    use_cache=False,
)
_add(
    "ViT",
    "ViTForImageClassification",
    "ViTConfig",
    pictures,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    image_size=16,
    patch_size=4,
    num_labels=2,
)
_add(
    "Swin",
    "SwinForImageClassification",
    "SwinConfig",
    pictures,
    image_size=16,
    patch_size=2,
    embed_dim=8,
    depths=[2, 1],
    num_heads=[2, 2],
    window_size=4,
    num_labels=2,
)
_add(
    "Segformer",
    "SegformerForImageClassification",
    "SegformerConfig",
    lambda: {"pixel_values": images(3)},
    num_encoder_blocks=2,
    depths=[1, 1],
    sr_ratios=[2, 1],
    hidden_sizes=[4, 8],
    patch_sizes=[3, 3],
    strides=[4, 2],
    num_attention_heads=[1, 2],
    mlp_ratios=[2, 2],
    num_labels=2,
    decoder_hidden_size=8,
)
_add(
    "CLIP vision",
    "CLIPVisionModel",
    "CLIPVisionConfig",
    pictures,
    lambda out: out.pooler_output[:, :3],
    hidden_size=8,
    intermediate_size=12,
    num_hidden_layers=2,
    num_attention_heads=2,
    image_size=16,
    patch_size=4,
)
_add(
    "Wav2Vec2",
    "Wav2Vec2ForSequenceClassification",
    "Wav2Vec2Config",
    lambda: {"input_values": torch.randn(3, 200)},
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=12,
    conv_dim=(4, 4),
    conv_stride=(4, 4),
    conv_kernel=(8, 4),
    num_feat_extract_layers=2,
    num_conv_pos_embeddings=4,
    num_conv_pos_embedding_groups=2,
    classifier_proj_size=4,
    num_labels=2,
)
_add(
    "LoRA on BERT",
    "BertForSequenceClassification",
    "BertConfig",
    padded,
    **_BERT,
    needs=("peft",),
    after=lambda m: with_lora(m, ["query", "value"]),
)
_add(
    "LoRA on GPT-2",
    "GPT2LMHeadModel",
    "GPT2Config",
    plain_tokens,
    last,
    **_GPT,
    needs=("peft",),
    after=lambda m: with_lora(m, ["c_attn"], fan_in_fan_out=True),
)
_add(
    "DoRA on Llama",
    "LlamaForCausalLM",
    "LlamaConfig",
    plain_tokens,
    last,
    **_LLAMA,
    needs=("peft",),
    after=lambda m: with_lora(m, ["q_proj"], use_dora=True),
)
