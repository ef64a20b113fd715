"""Backbones of this package, registered with timm.

``cnn48``: a small network of four plain convolutions, for 48x48 grey faces.

``fer_resnet``: a residual network of plain 3x3 convolutions for 48 px faces. Dense convolutions
in multiples of 32 channels keep the matrix units of CPUs (AMX, VNNI), GPUs and NPUs busy;
depthwise networks of the same size wait for memory. Four stages end at 6x6, so that the last one
still resolves the position of the mouth.

``mobilenetv2_stride16``: timm's mobilenetv2_100 without its stages at stride 32. Of a small
picture, these see 2x2 or 3x3 places, and they hold most of the weights.
"""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models._builder import build_model_with_cfg
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

_FER_RESNET = ByoModelCfg(
    blocks=(
        ByoBlockCfg(type="basic", d=1, c=64, s=2, gs=0),
        ByoBlockCfg(type="basic", d=2, c=128, s=2, gs=0),
        ByoBlockCfg(type="basic", d=2, c=256, s=2, gs=0),
    ),
    stem_type="3x3",
    stem_chs=32,
    stem_pool="",
)

_MOBILENETV2_STRIDE16 = [
    ["ds_r1_k3_s1_c16"],
    ["ir_r2_k3_s2_e6_c24"],
    ["ir_r3_k3_s2_e6_c32"],
    ["ir_r4_k3_s2_e6_c64"],
    ["ir_r3_k3_s1_e6_c96"],
]
"""First five of the seven stages of MobileNetV2 (Sandler et al., 2018, table 2)."""

# timm requires a configuration for every name; these have no weights.
default_cfgs = generate_default_cfgs(
    {
        "fer_resnet.untrained": {
            "input_size": (1, 48, 48),
            "first_conv": "stem.conv",
            "classifier": "head.fc",
        },
        "cnn48.untrained": {"input_size": (1, 48, 48)},
        "mobilenetv2_stride16.untrained": {
            "input_size": (1, 80, 80),
            "first_conv": "conv_stem",
            "classifier": "classifier",
        },
    }
)


class Cnn48(nn.Module):
    """Network of four convolutions, ``[N, C, H, W]`` to ``[N, 256]``.

    Each convolution is followed by 2x2 max pooling; the features are averaged over the image.
    """

    num_features = 256

    def __init__(self, in_chans: int = 1, num_classes: int = 0) -> None:
        super().__init__()
        if num_classes:
            raise ValueError("expected num_classes=0: cnn48 is a backbone without a classifier")
        layers: list[nn.Module] = []
        width = in_chans
        for wider in (32, 64, 128, self.num_features):
            layers += [
                nn.Conv2d(width, wider, 3, padding=1, bias=False),
                nn.BatchNorm2d(wider),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            width = wider
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).mean((2, 3))  # type: ignore[no-any-return]


@register_model  # type: ignore[untyped-decorator]
def cnn48(pretrained: bool = False, **kwargs: Any) -> Cnn48:
    """Create a Cnn48: 389 k parameters, 256 features. No pretrained weights exist."""
    names = ("in_chans", "num_classes")
    return Cnn48(**{name: value for name, value in kwargs.items() if name in names})


@register_model  # type: ignore[untyped-decorator]
def fer_resnet(pretrained: bool = False, **kwargs: Any) -> ByobNet:
    """Create a fer_resnet: 2.7 M parameters, 185 MMAC at 48x48, 256 features.

    No pretrained weights exist.
    """
    # With residual branches that start at zero, only linear shortcuts remain at first. On faces,
    # that network stays at the class prior: 30 % accuracy after 100 steps of 128, against 46 %.
    kwargs.setdefault("zero_init_last", False)
    model: ByobNet = build_model_with_cfg(
        ByobNet, "fer_resnet", pretrained, model_cfg=_FER_RESNET, **kwargs
    )
    # ByobNet's stem halves the image; at 48 px its finest edges still help.
    model.stem.conv.stride = (1, 1)
    return model


@register_model  # type: ignore[untyped-decorator]
def mobilenetv2_stride16(pretrained: bool = False, **kwargs: Any) -> EfficientNet:
    """Create a mobilenetv2_stride16: 0.68 M parameters, 1,280 features.

    No pretrained weights exist, but all layers except the last convolution fit mobilenetv2_100's.
    """
    model: EfficientNet = build_model_with_cfg(
        EfficientNet,
        "mobilenetv2_stride16",
        pretrained,
        block_args=decode_arch_def(_MOBILENETV2_STRIDE16),
        num_features=1280,
        stem_size=32,
        act_layer=nn.ReLU6,
        **kwargs,
    )
    return model
