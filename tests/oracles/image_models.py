"""Models of images from timm, torchvision, segmentation_models_pytorch and MONAI, shrunk."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from oracles.real_models import Case, images

CASES: dict[str, Case] = {}
_TIMM, _VISION, _MONAI = "timm.models", "torchvision.models", "monai.networks.nets"


def _named(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def _resolved(value: Any) -> Any:
    """What a name "@module:name" stands for, found when the model is built."""
    if isinstance(value, list):
        return [_resolved(part) for part in value]
    return _named(value[1:]) if isinstance(value, str) and value.startswith("@") else value


def _corner(out: Any) -> Any:
    """Two of a dense prediction's numbers."""
    return out.flatten(1)[:, :2]


def _add(
    name: str, where: str, shape: tuple[int, ...], *args: Any, output: Any = None, alone: bool = True,
    **options: Any,
) -> None:  # fmt: skip
    """The class or function ``where``, called with the rest, on images (3, size, size) or of a shape."""

    def make() -> tuple[nn.Module, Any]:
        given = {key: _resolved(value) for key, value in options.items()}
        model = _named(where)(*(_resolved(value) for value in args), **given)
        return model, images(3, shape)

    package = where.replace(":", ".").partition(".")[0]
    CASES[name] = Case((package,), make, output, alone=alone)


_32, _64 = (3, 32, 32), (3, 64, 64)

for _name in (
    "resnet", "convnext", "convnext2", "convnext3", "efficientnet", "efficientnet_gn", "efficientnet_ln",
    "efficientnet_evos", "mambaout", "nfnet", "byobnet",
):  # fmt: skip
    _add(f"timm test_{_name}", "timm:create_model", _32, f"test_{_name}", num_classes=2)
for _name in ("vit", "vit2", "vit3", "vit4", "vit_relpos"):
    _add(
        f"timm test_{_name}", "timm:create_model", _32, f"test_{_name}", num_classes=2, img_size=32
    )
for _name in ("coatnet", "maxvit"):
    _add(
        f"timm test_{_name}", "timm:create_model", _64, f"test_{_name}", num_classes=2, img_size=64
    )

_VIT = {
    "num_classes": 2,
    "embed_dim": 12,
    "num_heads": 2,
    "depth": 2,
    "patch_size": 8,
    "img_size": 32,
}
_SWIN = {
    "num_classes": 2, "img_size": 32, "patch_size": 4, "window_size": 4, "embed_dim": 8, "depths": (2, 1),
    "num_heads": (2, 2),
}  # fmt: skip
_RESNET = {"num_classes": 2, "layers": (1, 1, 1, 1), "channels": (8, 8, 8, 8)}

# fmt: off
_add("timm ViT, class token, layer scale", f"{_TIMM}.vision_transformer:VisionTransformer", _32, **_VIT,
     init_values=0.1)
_add("timm ViT, mean pool, registers", f"{_TIMM}.vision_transformer:VisionTransformer", _32, **_VIT, global_pool="avg",
     reg_tokens=2, qk_norm=True)
_add("timm DeiT", f"{_TIMM}.deit:VisionTransformerDistilled", _32, **_VIT)
_add("timm BEiT", f"{_TIMM}.beit:Beit", _32, **_VIT, use_rel_pos_bias=True, init_values=0.1)
_add("timm EVA", f"{_TIMM}.eva:Eva", _32, **{**_VIT, "embed_dim": 16}, use_rot_pos_emb=True)
_add("timm CaiT", f"{_TIMM}.cait:Cait", _32, **_VIT)
_add("timm XCiT", f"{_TIMM}.xcit:Xcit", _32, **_VIT, eta=0.5, alone=False)
_add("timm Swin", f"{_TIMM}.swin_transformer:SwinTransformer", _32, **_SWIN)
_add("timm Swin v2", f"{_TIMM}.swin_transformer_v2:SwinTransformerV2", _32, **_SWIN)
_add("timm ConvNeXt", f"{_TIMM}.convnext:ConvNeXt", _32, num_classes=2, depths=(1, 1, 1, 1), dims=(8, 8, 12, 12),
     ls_init_value=0.1)
_add("timm ResNet v2 (BiT)", f"{_TIMM}.resnetv2:ResNetV2", _32, layers=(1, 1), channels=(128, 128), stem_chs=32,
     num_classes=2, conv_layer="@timm.layers:StdConv2d")
_add("timm ECA-ResNet", f"{_TIMM}.resnet:ResNet", _32, f"@{_TIMM}.resnet:BasicBlock", **_RESNET,
     block_args={"attn_layer": "eca"})
_add("timm SE-ResNet", f"{_TIMM}.resnet:ResNet", _32, f"@{_TIMM}.resnet:Bottleneck", **_RESNET,
     block_args={"attn_layer": "se"})
_add("timm MLP-Mixer", f"{_TIMM}.mlp_mixer:MlpMixer", _32, num_classes=2, img_size=32, patch_size=8, num_blocks=2,
     embed_dim=12)
_add("timm PoolFormer", f"{_TIMM}.metaformer:MetaFormer", _32, num_classes=2, depths=(1, 1), dims=(8, 12))
_add("timm PVT v2", f"{_TIMM}.pvt_v2:PyramidVisionTransformerV2", _64, num_classes=2, depths=(1, 1, 1, 1),
     embed_dims=(4, 4, 8, 8), num_heads=(1, 1, 2, 2))
_add("timm Twins", f"{_TIMM}.twins:Twins", _64, num_classes=2, img_size=64, patch_size=4, embed_dims=(4, 8),
     num_heads=(1, 2), mlp_ratios=(2, 2), depths=(1, 1), sr_ratios=(4, 2), wss=(4, 4))
_add("timm ConvMixer", f"{_TIMM}.convmixer:ConvMixer", _32, num_classes=2, dim=8, depth=2, kernel_size=3, patch_size=4)
_add("timm DenseNet", f"{_TIMM}.densenet:DenseNet", _32, num_classes=2, growth_rate=4, block_config=(2, 2))
_add("timm FocalNet", f"{_TIMM}.focalnet:FocalNet", _32, num_classes=2, embed_dim=8, depths=(1, 1))
_add("timm EdgeNeXt", f"{_TIMM}.edgenext:EdgeNeXt", _64, num_classes=2, dims=(8, 8, 16, 16), depths=(1, 1, 2, 1),
     heads=(2, 2, 2, 2))
_add("timm DaViT", f"{_TIMM}.davit:DaVit", _64, num_classes=2, depths=(1, 1), embed_dims=(8, 16), num_heads=(2, 2),
     window_size=4)

_add("torchvision MobileNet v2", f"{_VISION}:MobileNetV2", _32, num_classes=2, width_mult=0.1, dropout=0.0,
     inverted_residual_setting=[[1, 8, 1, 1], [2, 8, 2, 2]])
_add("torchvision ShuffleNet v2", f"{_VISION}:ShuffleNetV2", _32, [1, 1, 1], [8, 8, 16, 16, 16], num_classes=2)
_add("torchvision SqueezeNet", f"{_VISION}:SqueezeNet", _64, "1_1", num_classes=2)
_add("torchvision MNASNet", f"{_VISION}:MNASNet", _32, 0.1, num_classes=2)
_add("torchvision ViT", f"{_VISION}:VisionTransformer", _32, image_size=32, patch_size=8, num_layers=2, num_heads=2,
     hidden_dim=12, mlp_dim=16, num_classes=2)
_add("torchvision Swin", f"{_VISION}.swin_transformer:SwinTransformer", _32, patch_size=[4, 4], embed_dim=8,
     depths=[2, 1], num_heads=[2, 2], window_size=[4, 4], num_classes=2)
_add("torchvision DenseNet", f"{_VISION}:DenseNet", _32, growth_rate=4, block_config=(2, 2), num_init_features=8,
     num_classes=2)
_add("torchvision MaxViT", f"{_VISION}:MaxVit", _64, input_size=(64, 64), stem_channels=8, block_channels=[8, 8],
     block_layers=[1, 1], head_dim=4, stochastic_depth_prob=0.0, partition_size=4, num_classes=2)
_add("torchvision R3D", f"{_VISION}.video.resnet:VideoResNet", (3, 4, 16, 16), f"@{_VISION}.video.resnet:BasicBlock",
     [f"@{_VISION}.video.resnet:Conv3DSimple"] * 4, [1, 0, 0, 0], f"@{_VISION}.video.resnet:BasicStem", num_classes=2)

_SMP = {"encoder_name": "tu-test_resnet", "encoder_weights": None, "encoder_depth": 3, "output": _corner}
for _name in ("Unet", "UnetPlusPlus"):
    _add(f"smp {_name}", f"segmentation_models_pytorch:{_name}", _32, **_SMP, decoder_channels=(8, 8, 8))
_add("smp FPN", "segmentation_models_pytorch:FPN", _32, **{**_SMP, "encoder_depth": 4}, decoder_pyramid_channels=16,
     decoder_segmentation_channels=32, decoder_dropout=0.0)

_add("MONAI UNet", f"{_MONAI}:UNet", (1, 16, 16), output=_corner, spatial_dims=2, in_channels=1, out_channels=1,
     channels=(4, 8), strides=(2,), num_res_units=1)
_add("MONAI DenseNet, 3d", f"{_MONAI}:DenseNet", (1, 16, 16, 16), spatial_dims=3, in_channels=1, out_channels=2,
     init_features=4, growth_rate=2, block_config=(1, 1), bn_size=2)
_add("MONAI SegResNet", f"{_MONAI}:SegResNet", (1, 16, 16), output=_corner, spatial_dims=2, in_channels=1,
     out_channels=1, init_filters=8, blocks_down=(1, 1), blocks_up=(1,))
_add("MONAI BasicUNet", f"{_MONAI}:BasicUNet", (1, 32, 32), output=_corner, spatial_dims=2, in_channels=1, out_channels=1,
     features=(4, 4, 8, 8, 8, 4))
# fmt: on
