"""Models of images from timm, torchvision, segmentation_models_pytorch and MONAI, shrunk."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from oracles.real_models import Case, images

CASES: dict[str, Case] = {}
_TIMM, _VISION = "timm.models", "torchvision.models"


def _add(
    name: str,
    where: str,
    size: int = 32,
    *args: Any,
    output: Any = None,
    refused: str = "",
    channels: int = 3,
    **options: Any,
) -> None:
    """A class or function ``where`` = package.module:name, called with the rest."""

    def make() -> tuple[nn.Module, Any]:
        module, _, function = where.partition(":")
        given = {k: v() if callable(v) and k != "norm_layer" else v for k, v in options.items()}
        model = getattr(importlib.import_module(module), function)(*args, **given)
        return model, images(3, size, channels)

    CASES[name] = Case((where.partition(".")[0],), make, output, refused)


for _name, _size in {
    "test_resnet": 32, "test_vit": 32, "test_vit2": 32, "test_vit3": 32, "test_vit4": 32, "test_convnext": 32,
    "test_convnext2": 32, "test_convnext3": 32, "test_efficientnet": 32, "test_efficientnet_gn": 32,
    "test_efficientnet_ln": 32, "test_efficientnet_evos": 32, "test_mambaout": 32, "test_nfnet": 32,
    "test_byobnet": 32, "test_coatnet": 64, "test_maxvit": 64, "test_vit_relpos": 32,
}.items():  # fmt: skip
    _resized = {"img_size": _size} if _name in {
        "test_vit", "test_vit2", "test_vit3", "test_vit4", "test_coatnet", "test_maxvit", "test_vit_relpos"
    } else {}  # fmt: skip
    _add(f"timm {_name}", "timm:create_model", _size, _name, num_classes=2, **_resized)

_tiny = {
    "num_classes": 2,
    "embed_dim": 12,
    "num_heads": 2,
    "depth": 2,
    "patch_size": 8,
    "img_size": 32,
}
_add(
    "timm ViT, class token, layer scale",
    f"{_TIMM}.vision_transformer:VisionTransformer",
    **_tiny,
    init_values=0.1,
)
_add(
    "timm ViT, mean pool, registers",
    f"{_TIMM}.vision_transformer:VisionTransformer",
    **_tiny,
    global_pool="avg",
    reg_tokens=2,
    qk_norm=True,
)
_add("timm DeiT", f"{_TIMM}.deit:VisionTransformerDistilled", **_tiny)
_add("timm BEiT", f"{_TIMM}.beit:Beit", **_tiny, use_rel_pos_bias=True, init_values=0.1)
_add("timm EVA", f"{_TIMM}.eva:Eva", **_tiny, use_rot_pos_emb=True)
_add("timm CaiT", f"{_TIMM}.cait:Cait", **_tiny)
_add("timm XCiT", f"{_TIMM}.xcit:Xcit", **_tiny, eta=0.5)
_add(
    "timm Swin",
    f"{_TIMM}.swin_transformer:SwinTransformer",
    num_classes=2,
    img_size=32,
    patch_size=4,
    window_size=4,
    embed_dim=8,
    depths=(2, 1),
    num_heads=(2, 2),
)
_add(
    "timm Swin v2",
    f"{_TIMM}.swin_transformer_v2:SwinTransformerV2",
    num_classes=2,
    img_size=32,
    patch_size=4,
    window_size=4,
    embed_dim=8,
    depths=(2, 1),
    num_heads=(2, 2),
)
_add(
    "timm ConvNeXt",
    f"{_TIMM}.convnext:ConvNeXt",
    num_classes=2,
    depths=(1, 1),
    dims=(8, 12),
    ls_init_value=0.1,
)
_add(
    "timm ResNet v2 (BiT)",
    f"{_TIMM}.resnetv2:ResNetV2",
    layers=(1, 1),
    channels=(8, 16),
    stem_chs=8,
    num_classes=2,
)
_add("timm NFNet", "timm:create_model", 32, "test_nfnet", num_classes=2, in_chans=3)
_add(
    "timm ECA-ResNet",
    f"{_TIMM}.resnet:ResNet",
    num_classes=2,
    layers=(1, 1, 1, 1),
    channels=(4, 4, 8, 8),
    block=lambda: importlib.import_module("timm.models.resnet").BasicBlock,
    block_args={"attn_layer": "eca"},
)
_add(
    "timm SE-ResNet",
    f"{_TIMM}.resnet:ResNet",
    num_classes=2,
    layers=(1, 1, 1, 1),
    channels=(8, 8, 8, 8),
    block=lambda: importlib.import_module("timm.models.resnet").Bottleneck,
    block_args={"attn_layer": "se"},
)
_add(
    "timm MLP-Mixer",
    f"{_TIMM}.mlp_mixer:MlpMixer",
    num_classes=2,
    img_size=32,
    patch_size=8,
    num_blocks=2,
    embed_dim=12,
)
_add(
    "timm PoolFormer", f"{_TIMM}.metaformer:MetaFormer", num_classes=2, depths=(1, 1), dims=(8, 12)
)
_add(
    "timm PVT v2",
    f"{_TIMM}.pvt_v2:PyramidVisionTransformerV2",
    64,
    num_classes=2,
    depths=(1, 1, 1, 1),
    embed_dims=(4, 4, 8, 8),
    num_heads=(1, 1, 2, 2),
)
_add(
    "timm Twins",
    f"{_TIMM}.twins:Twins",
    64,
    num_classes=2,
    img_size=64,
    patch_size=4,
    embed_dims=(4, 8),
    num_heads=(1, 2),
    mlp_ratios=(2, 2),
    depths=(1, 1),
    sr_ratios=(4, 2),
    wss=(4, 4),
)
_add(
    "timm ConvMixer",
    f"{_TIMM}.convmixer:ConvMixer",
    num_classes=2,
    dim=8,
    depth=2,
    kernel_size=3,
    patch_size=4,
)
_add(
    "timm DenseNet", f"{_TIMM}.densenet:DenseNet", num_classes=2, growth_rate=4, block_config=(2, 2)
)
_add("timm FocalNet", f"{_TIMM}.focalnet:FocalNet", num_classes=2, embed_dim=8, depths=(1, 1))
_add(
    "timm Res2Net",
    f"{_TIMM}.resnet:ResNet",
    num_classes=2,
    layers=(1, 1, 1, 1),
    channels=(8, 8, 8, 8),
    base_width=13,
    cardinality=1,
    block_args={"scale": 4},
    block=lambda: importlib.import_module("timm.models.res2net").Bottle2neck,
)
_add(
    "timm EdgeNeXt",
    f"{_TIMM}.edgenext:EdgeNeXt",
    64,
    num_classes=2,
    dims=(8, 8, 16, 16),
    depths=(1, 1, 2, 1),
    heads=(2, 2, 2, 2),
)
_add(
    "timm DaViT",
    f"{_TIMM}.davit:DaVit",
    64,
    num_classes=2,
    depths=(1, 1),
    embed_dims=(8, 16),
    num_heads=(2, 2),
    num_groups=(2, 2),
    window_size=4,
)
_add("timm MobileNet v3", "timm:create_model", 32, "mobilenetv3_small_050", num_classes=2)

_add(
    "torchvision MobileNet v2",
    f"{_VISION}:MobileNetV2",
    num_classes=2,
    width_mult=0.1,
    dropout=0.0,
    inverted_residual_setting=[[1, 8, 1, 1], [2, 8, 2, 2]],
)
_add(
    "torchvision ShuffleNet v2",
    f"{_VISION}:ShuffleNetV2",
    32,
    [1, 1, 1],
    [8, 8, 16, 16, 16],
    num_classes=2,
)
_add("torchvision SqueezeNet", f"{_VISION}:SqueezeNet", 64, "1_1", num_classes=2)
_add("torchvision MNASNet", f"{_VISION}:MNASNet", 32, 0.1, num_classes=2)
_add(
    "torchvision ViT",
    f"{_VISION}:VisionTransformer",
    image_size=32,
    patch_size=8,
    num_layers=2,
    num_heads=2,
    hidden_dim=12,
    mlp_dim=16,
    num_classes=2,
)
_add(
    "torchvision Swin",
    f"{_VISION}.swin_transformer:SwinTransformer",
    patch_size=[4, 4],
    embed_dim=8,
    depths=[2, 1],
    num_heads=[2, 2],
    window_size=[4, 4],
    num_classes=2,
)
_add(
    "torchvision ConvNeXt",
    f"{_VISION}.convnext:ConvNeXt",
    num_classes=2,
    block_setting=lambda: [
        importlib.import_module("torchvision.models.convnext").CNBlockConfig(8, 12, 1),
        importlib.import_module("torchvision.models.convnext").CNBlockConfig(12, None, 1),
    ],
)
_add(
    "torchvision DenseNet",
    f"{_VISION}:DenseNet",
    growth_rate=4,
    block_config=(2, 2),
    num_init_features=8,
    num_classes=2,
)
_add(
    "torchvision MaxViT",
    f"{_VISION}:MaxVit",
    64,
    input_size=(64, 64),
    stem_channels=8,
    block_channels=[8, 8],
    block_layers=[1, 1],
    head_dim=4,
    stochastic_depth_prob=0.0,
    partition_size=4,
    num_classes=2,
)
