"""Backbones of our own, registered with timm so that they are created like any other.

``fer_resnet``: a residual network of plain 3x3 convolutions for 48 px faces. Dense convolutions
in multiples of 32 channels keep the matrix units of CPUs (AMX, VNNI), GPUs and NPUs busy, where
the depthwise networks of the same size wait for memory; four stages end at 6x6, so that the
last one still sees where the mouth is.
"""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models._builder import build_model_with_cfg
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg

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

# timm wants a configuration for every name; this one has no weights to point at.
default_cfgs = generate_default_cfgs(
    {
        "fer_resnet.untrained": {
            "input_size": (1, 48, 48),
            "first_conv": "stem.conv",
            "classifier": "head.fc",
        }
    }
)


@register_model  # type: ignore[untyped-decorator]
def fer_resnet(pretrained: bool = False, **kwargs: Any) -> ByobNet:
    """2.7 M parameters, 185 MMAC at 48x48, 256 features. No pretrained weights exist."""
    # Residual branches that start at zero leave only linear shortcuts at first, and on faces that
    # network sits on the class prior: 30 % against 46 % after 100 steps of 128.
    kwargs.setdefault("zero_init_last", False)
    model: ByobNet = build_model_with_cfg(
        ByobNet, "fer_resnet", pretrained, model_cfg=_FER_RESNET, **kwargs
    )
    # ByobNet's stem halves the picture; at 48 px the first edges are worth keeping.
    model.stem.conv.stride = (1, 1)
    return model
