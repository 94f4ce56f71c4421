"""Blocks that W-Net is made of. Shapes are (B, C, H, W) throughout; a block keeps the shape unless it says otherwise."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.archs.ops.as_built import is_conv, known, untouched
from wnet_arch.archs.ops.folding import bias_of
from wnet_arch.archs.ops.pixelwise import gated, global_mean, gram, mean_over_channels, unit_length


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """The paper's f_{3x3,n}: 3x3, stride 1, zero padding that keeps the size, with bias."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def conv1x1(in_channels: int, out_channels: int) -> nn.Conv2d:
    """The paper's f_{1x1,n}."""
    return nn.Conv2d(in_channels, out_channels, 1)


def full_precision(device: torch.device):
    """Context in which autocast is off; nothing to switch on devices without autocast, such as ``meta``."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


@known
class ChannelAttention(nn.Module):
    """CA: weights each channel by a gate computed from its global mean (RCAN, Zhang et al. 2018, section 3.3);
    (B, C, H, W) to the same.
    """

    def __init__(self, num_feat: int, reduction: int = 16):
        super().__init__()
        squeezed = max(num_feat // reduction, 4)
        squeeze, widen = conv1x1(num_feat, squeezed), conv1x1(squeezed, num_feat)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), squeeze, nn.ReLU(inplace=True), widen, nn.Sigmoid())
        # The means are small and nearly the same for all images, so the sign of the bias alone would decide whether one
        # of these few units ever passes a gradient. A positive start lets all of them learn.
        nn.init.constant_(bias_of(squeeze), 0.2)

    def factors(self, x: torch.Tensor) -> torch.Tensor:
        """The gate alone, (B, C, 1, 1)."""
        return self.gate[1:](global_mean(x)) if self.takes_means() else self.gate(x)

    def takes_means(self) -> bool:
        """Whether the gate begins with nothing but the global mean, which may then be computed elsewhere."""
        if type(self.gate) is not nn.Sequential or not len(self.gate) or not untouched(self, self.gate, self.gate[0]):
            return False
        return type(self.gate[0]) is nn.AdaptiveAvgPool2d and self.gate[0].output_size in (1, (1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factors(x)


@known
class SpatialAttention(nn.Module):
    """SA, SPA: weights each position by a gate from the mean and maximum over channels (CBAM, Woo et al. 2018, 3.2);
    (B, C, H, W) to the same.
    """

    def __init__(self, kernel_size: int = 7):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def factors(self, x: torch.Tensor) -> torch.Tensor:
        """The gate alone, (B, 1, H, W)."""
        return torch.sigmoid(self.conv(torch.cat([mean_over_channels(x), x.amax(1, keepdim=True)], dim=1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factors(x)


def attended(x: torch.Tensor, channel: nn.Module, spatial: nn.Module) -> torch.Tensor:
    """``channel(x) + spatial(x)``, as in equations 6 and 10; with the attentions of this file in one pass over ``x``."""
    if type(channel) is ChannelAttention and type(spatial) is SpatialAttention and untouched(channel, spatial):
        return gated(x, channel.factors(x), spatial.factors(x))
    return channel(x) + spatial(x)


@known
class PixelAttention(nn.Module):
    """PA: a gate in (0, 1) for every channel of every pixel (PAN, Zhao et al. 2020). Returns the gate, (B, C, H, W)
    as its input, not the product.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        self.conv = conv1x1(num_feat, num_feat)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.conv(x))


@known
class ResidualBlock(nn.Module):
    """x + f_{3x3}(ReLU(f_{3x3}(x))), without normalisation; (B, C, H, W) to the same."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.body = nn.Sequential(conv3x3(num_feat, num_feat), nn.ReLU(inplace=True), conv3x3(num_feat, num_feat))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


@known
class Hourglass(nn.Module):
    """Hourglass of a given depth (Newell et al. 2016, section 3.1) with :class:`ResidualBlock` at every node; (B, C, H, W) to
    the same.

    Each level halves the size by max pooling and doubles it back by nearest-neighbour enlargement, so the input's sides
    must be multiples of ``2 ** depth``.
    """

    def __init__(self, depth: int, num_feat: int):
        super().__init__()
        self.skip = ResidualBlock(num_feat)
        self.down = ResidualBlock(num_feat)
        self.inner = Hourglass(depth - 1, num_feat) if depth > 1 else ResidualBlock(num_feat)
        self.up = ResidualBlock(num_feat)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = self.up(self.inner(self.down(F.max_pool2d(x, 2))))
        return self.skip(x) + F.interpolate(low, scale_factor=2, mode="nearest")


def norm_of(kind: str, num_feat: int) -> nn.Module:
    """The normalisation of :class:`Upsample` and :class:`Downsample`: BatchNorm, GroupNorm of 8 groups, or none."""
    norms = {"bn": lambda: nn.BatchNorm2d(num_feat), "gn": lambda: nn.GroupNorm(8, num_feat), "none": nn.Identity}
    return norms[kind]()


@known
class Upsample(nn.Sequential):
    """Doubles the size: (B, C, H, W) -> (B, C, 2H, 2W).

    The paper says "Pixel Shuffle layers and BatchNorm layers" (after equation 14). Pixel shuffle takes four times the
    channels it gives; a 1x1 convolution, the cheapest that can, supplies them. The four pixels that come from one start with
    equal weights (Aitken et al. 2017), so that training begins with plain enlargement instead of a checkerboard.

    Args:
        num_feat: channels C.
        norm: ``"bn"`` as in the paper, ``"gn"`` or ``"none"``, see :func:`norm_of`.
    """

    def __init__(self, num_feat: int, norm: str = "bn"):
        super().__init__(conv1x1(num_feat, 4 * num_feat), nn.PixelShuffle(2), norm_of(norm, num_feat))
        with torch.no_grad():
            for parameter in self[0].parameters():
                parameter.copy_(parameter[::4].repeat_interleave(4, dim=0))


@known
class Downsample(nn.Sequential):
    """Halves the size: (B, C, H, W) -> (B, C, H/2, W/2); the mirror of :class:`Upsample` (after equation 18)."""

    def __init__(self, num_feat: int, norm: str = "bn"):
        super().__init__(nn.PixelUnshuffle(2), conv1x1(4 * num_feat, num_feat), norm_of(norm, num_feat))


@known
class ChannelSelfAttention(nn.Module):
    """Self-attention between channels, equations 20 and 21; (B, C, H, W) to the same.

    Q, K and V each come from a 3x3 depth-wise convolution followed by a 1x1 convolution, as printed. The paper speaks of
    "channel-level context" and of "global attention weights from different positions" at once; attention between positions
    of a 128x128 map would need a 16384 x 16384 matrix, so the rows of Q and K are channels, as in Restormer (Zamir et al.
    2022, section 3.1), with its L2 normalisation, and its learned temperature in the place of 1 / sqrt(d).
    :class:`PositionSelfAttention` is the other reading.

    Args:
        num_feat: channels C.
        num_heads: the C channels are attended in this many groups; 4 in the paper.
        scaling: of the products: ``"learned"``, see above; or ``"sqrt"``, equation 21 as printed, Softmax(Q K / sqrt(d)) V
            without normalisation, d being the length of the vectors that are multiplied: H W here.
    """

    def __init__(self, num_feat: int, num_heads: int = 4, scaling: str = "learned"):
        super().__init__()
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1)) if scaling == "learned" else None
        self.query, self.key, self.value = (self._projection(num_feat) for _ in range(3))

    @staticmethod
    def _projection(num_feat: int) -> nn.Sequential:
        depthwise = nn.Conv2d(num_feat, num_feat, 3, padding=1, groups=num_feat)
        return nn.Sequential(depthwise, conv1x1(num_feat, num_feat))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key = self.query(x), self.key(x)
        # Lengths and products of all channels at once. A sum over all pixels and a softmax are too much for half precision.
        both = torch.cat([query, key], dim=1)
        products = gram(both, both)
        with full_precision(x.device):
            matrix = self._weights(products, x.shape[2] * x.shape[3])
            projection: nn.Module = self.value
            shift = None
            if type(projection) is nn.Sequential and len(projection) == 2 and untouched(projection):
                depthwise, pointwise = projection
                if is_conv(pointwise, 1):
                    # The values are those of the depth-wise convolution; their 1x1 convolution and the attention are one matrix.
                    projection = depthwise
                    shift = matrix @ bias_of(pointwise).to(matrix)
                    matrix = matrix @ pointwise.weight.flatten(1).to(matrix)
        values = projection(x)
        attended = torch.matmul(values.permute(0, 2, 3, 1).flatten(1, 2), matrix.transpose(1, 2).to(values.dtype))
        attended = attended if shift is None else attended + shift.to(values.dtype)[:, None]
        return attended.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)

    def _weights(self, products: torch.Tensor, length: int) -> torch.Tensor:
        """The softmax of equation 21 from scalar products (B, 2C, 2C) of all of Q and K, vectors of that length.

        Returns:
            (B, C, C), zero between heads.
        """
        channels = products.shape[1] // 2
        cosines = products[:, :channels, channels:]
        if self.temperature is None:
            cosines = cosines / length**0.5
        else:
            lengths = products.diagonal(dim1=1, dim2=2).clamp_min(1e-24).sqrt()
            cosines = cosines / (lengths[:, :channels, None] * lengths[:, None, channels:])
        size = channels // self.num_heads
        heads = torch.eye(self.num_heads, dtype=cosines.dtype, device=cosines.device)[:, None, :, None]
        by_head = (cosines.unflatten(2, (self.num_heads, size)).unflatten(1, (self.num_heads, size)) * heads).sum(3)
        weights = (by_head if self.temperature is None else by_head * self.temperature.to(by_head)).softmax(dim=-1)
        return (weights[:, :, :, None] * heads).flatten(3, 4).flatten(1, 2)


@known
class PositionSelfAttention(ChannelSelfAttention):
    """Self-attention between positions: "global attention weights from different positions", the other reading of equation 21;
    (B, C, H, W) to the same.

    Q, K and V, heads and scaling are those of :class:`ChannelSelfAttention`, whose state dict it takes; the rows of Q and K are
    positions, so d of ``scaling: sqrt`` is C / heads. The matrix has (H W)^2 entries for each head: for small grids.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = x.shape[1] // self.num_heads
        query, key, value = (
            layer(x).flatten(2).unflatten(1, (self.num_heads, length)).transpose(2, 3)  # (B, heads, H W, length)
            for layer in (self.query, self.key, self.value)
        )
        scale = length**-0.5
        if self.temperature is not None:
            query, key = unit_length(query), unit_length(key)
            query, scale = query * self.temperature.to(query), 1.0
        attended = F.scaled_dot_product_attention(query, key, value, scale=scale)
        return attended.transpose(2, 3).flatten(1, 2).unflatten(2, x.shape[2:])


@known
class SCAB(nn.Module):
    """Self-attention and channel attention block (section 3.3): RCAN's residual block with self-attention inside;
    (B, C, H, W) to the same.

    f = f_{3x3}(ReLU(f_{3x3}(x))), the block's features; f + ChannelSelfAttention(f) "building upon" them; then channel
    attention and the block's identity connection. Without ``self_attention`` it is RCAN's RCAB (ablation, Table 3).

    Args:
        num_feat, num_heads, scaling: see :class:`ChannelSelfAttention`.
        self_attention: whether there is any.
        between: ``"channels"`` or ``"positions"``: what attends to each other.
    """

    def __init__(
        self,
        num_feat: int,
        self_attention: bool = True,
        num_heads: int = 4,
        scaling: str = "learned",
        between: str = "channels",
    ):
        super().__init__()
        attention = ChannelSelfAttention if between == "channels" else PositionSelfAttention
        self.features = nn.Sequential(conv3x3(num_feat, num_feat), nn.ReLU(inplace=True), conv3x3(num_feat, num_feat))
        self.attention = attention(num_feat, num_heads, scaling) if self_attention else None
        self.channel_attention = ChannelAttention(num_feat)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.features(x)
        if self.attention is not None:
            features = features + self.attention(features)
        return x + self.channel_attention(features)
