"""W-Net as its equations read: plain, eager, un-fused, NCHW. The ground truth that faster forms are held against.

Shares nothing with ``wnet_arch`` but the names of the parameters, so that one state dict fits both, and the enlargement of the
input. Equation numbers are the paper's. Keep it slow: what is clever belongs into ``wnet_arch/archs``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.archs.ops.bicubic import enlarge


class Output(NamedTuple):
    sr: torch.Tensor
    parsing: torch.Tensor


def conv(size: int, n_in: int, n_out: int) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, size, padding=size // 2)


class CA(nn.Module):
    """Channel attention."""

    def __init__(self, n: int):
        super().__init__()
        few = max(n // 16, 4)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(1, n, few), nn.ReLU(), conv(1, few, n), nn.Sigmoid())

    def forward(self, x):
        return x * self.gate(x)


class SPA(nn.Module):
    """Spatial attention."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x):
        mean = torch.mean(x, dim=1, keepdim=True)
        largest = torch.amax(x, dim=1, keepdim=True)
        return x * torch.sigmoid(self.conv(torch.cat([mean, largest], dim=1)))


class PA(nn.Module):
    """Pixel attention: the gate."""

    def __init__(self, n: int):
        super().__init__()
        self.conv = conv(1, n, n)

    def forward(self, x):
        return torch.sigmoid(self.conv(x))


class Residual(nn.Module):
    def __init__(self, n: int):
        super().__init__()
        self.body = nn.Sequential(conv(3, n, n), nn.ReLU(), conv(3, n, n))

    def forward(self, x):
        return x + self.body(x)


class HourGlass(nn.Module):
    """Depth 4 by recursion."""

    def __init__(self, depth: int, n: int):
        super().__init__()
        self.skip, self.down, self.up = Residual(n), Residual(n), Residual(n)
        self.inner = Residual(n) if depth == 1 else HourGlass(depth - 1, n)

    def forward(self, x):
        small = F.max_pool2d(x, kernel_size=2, stride=2)
        small = self.down(small)
        small = self.inner(small)
        small = self.up(small)
        return self.skip(x) + F.interpolate(small, scale_factor=2.0, mode="nearest")


class AttentionUnit(nn.Module):
    """Equations 4 to 7."""

    def __init__(self, n: int, y_from: str):
        super().__init__()
        self.y_from = y_from
        self.conv1 = conv(1, n, n)
        self.conv2 = conv(3, n, n // 2)
        self.conv3 = conv(3, n, n // 2)
        self.conv4 = conv(3, 2 * n, n)
        self.conv5 = conv(3, n // 2, n // 2)
        self.channel_attention = CA(2 * n)
        self.spatial_attention = SPA()
        self.conv7 = conv(1, 2 * n, n)

    def forward(self, f_deep):
        y1 = F.relu(self.conv1(f_deep))
        source = y1 if self.y_from == "y1" else f_deep
        y2 = F.relu(self.conv2(source))
        y3 = F.relu(self.conv3(source))
        y4 = F.relu(self.conv4(torch.cat([y1, y2, y3], dim=1)))
        y5 = F.relu(self.conv5(y3))
        y_ca = self.channel_attention(torch.cat([y2, y4, y5], dim=1))
        y_sa = self.spatial_attention(torch.cat([y2, y4, y5], dim=1))
        y6 = y_ca + y_sa
        y7 = self.conv7(y6)
        return y7 + f_deep


class ParsingBlock(nn.Module):
    """Equations 2, 3 and 8."""

    def __init__(self, n: int, y_from: str):
        super().__init__()
        self.shallow = conv(3, 3, n)
        self.residual = nn.Sequential(Residual(n), Residual(n))
        self.hourglass = HourGlass(4, n)
        self.attention = AttentionUnit(n, y_from)
        self.to_map = conv(3, n, 3)

    def forward(self, image):
        f_shallow = self.shallow(image)
        f_deep = self.hourglass(self.residual(f_shallow))
        return self.to_map(self.attention(f_deep))


class LPF(nn.Module):
    """Equations 9 to 11; ``embed`` gives the map the features' number of channels."""

    def __init__(self, n: int):
        super().__init__()
        self.embed = conv(1, 3, n)
        self.conv_lr1, self.conv_lr2, self.conv_parsing = conv(3, n, n), conv(3, n, n), conv(3, n, n)
        self.channel_attention, self.spatial_attention, self.pixel_attention = CA(n), SPA(), PA(n)
        self.conv_att = conv(3, n, n)
        self.conv_fuse1 = conv(3, 2 * n, n)
        self.conv_fuse2 = conv(1, n, n)

    def forward(self, f_lr, parsing):
        f_parsing = self.embed(parsing)
        f_lr_1 = self.conv_lr1(f_lr)
        f_lr_2 = self.conv_lr2(f_lr)
        f_parsing_conv = self.conv_parsing(f_parsing)
        f_att = self.conv_att(self.channel_attention(f_lr_1) + self.spatial_attention(f_lr_1))
        sigma = self.pixel_attention(f_lr_2 + f_parsing_conv)
        f_pixel = sigma * f_lr_2 + (1 - sigma) * f_parsing_conv
        f_fuse1 = self.conv_fuse1(torch.cat([f_att, f_parsing_conv], dim=1))
        f_fuse2 = self.conv_fuse2(f_pixel + f_lr + f_parsing)
        return f_fuse1 + f_fuse2 + f_lr_2 + f_parsing_conv


class SelfAttention(nn.Module):
    """Equations 20 and 21, over channels."""

    def __init__(self, n: int, heads: int):
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.query, self.key, self.value = (nn.Sequential(nn.Conv2d(n, n, 3, padding=1, groups=n), conv(1, n, n)) for _ in range(3))

    def forward(self, x):
        batch, n, height, width = x.shape
        q, k, v = (
            layer(x).reshape(batch, self.heads, n // self.heads, height * width) for layer in (self.query, self.key, self.value)
        )
        q = q / q.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        k = k / k.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        weights = torch.softmax(torch.matmul(q, k.transpose(-2, -1)) * self.temperature, dim=-1)
        return torch.matmul(weights, v).reshape(batch, n, height, width)


class SCAB(nn.Module):
    def __init__(self, n: int, heads: int):
        super().__init__()
        self.features = nn.Sequential(conv(3, n, n), nn.ReLU(), conv(3, n, n))
        self.attention = SelfAttention(n, heads)
        self.channel_attention = CA(n)

    def forward(self, x):
        f = self.features(x)
        f = f + self.attention(f)
        return x + self.channel_attention(f)


class Up(nn.Sequential):
    def __init__(self, n: int):
        super().__init__(conv(1, n, 4 * n), nn.PixelShuffle(2), nn.BatchNorm2d(n))


class Down(nn.Sequential):
    def __init__(self, n: int):
        super().__init__(nn.PixelUnshuffle(2), conv(1, 4 * n, n), nn.BatchNorm2d(n))


class Trunk(nn.Module):
    """Equations 12 to 23, on the enlarged face."""

    def __init__(self, n: int, peak: int, y_from: str, heads: int, skip: bool, global_residual: bool):
        super().__init__()
        self.skip, self.global_residual = skip, global_residual
        self.parsing = ParsingBlock(n, y_from)
        halvings = {1: 0, 2: 1, 4: 2, 8: 3}[peak]
        if halvings == 0:
            steps = [conv(3, 6, n)]
        else:
            kinds = [Up] * halvings + [Down] * halvings
            steps = [nn.Sequential(conv(3, n if i > 0 else 6, n), kind(n)) for i, kind in enumerate(kinds)]
        self.pyramid = nn.ModuleList(steps)
        self.pyramid_fusions = nn.ModuleList(LPF(n) for _ in steps)
        self.encoder_downs = nn.ModuleList(Down(n) for _ in range(4))
        self.encoder_blocks = nn.ModuleList(nn.Sequential(SCAB(n, heads), SCAB(n, heads)) for _ in range(4))
        self.encoder_fusions = nn.ModuleList(LPF(n) for _ in range(4))
        self.decoder_ups = nn.ModuleList(Up(n) for _ in range(4))
        self.decoder_blocks = nn.ModuleList(nn.Sequential(SCAB(n, heads), SCAB(n, heads)) for _ in range(4))
        self.to_rgb = conv(3, n, 3)

    def forward(self, image):
        parsing = self.parsing(image)
        x = torch.cat([image, parsing], dim=1)
        for step, lpf in zip(self.pyramid, self.pyramid_fusions):
            x = step(x)
            x = lpf(x, F.interpolate(parsing, size=x.shape[2:], mode="nearest"))
        skipped = []
        for level in range(4):
            skipped.append(x)
            x = self.encoder_blocks[level](self.encoder_downs[level](x))
            x = self.encoder_fusions[level](x, F.interpolate(parsing, size=x.shape[2:], mode="nearest"))
        for level in range(4):
            x = self.decoder_ups[level](x)
            if self.skip:
                x = x + skipped[3 - level]
            x = self.decoder_blocks[level](x)
        sr = self.to_rgb(x)
        return Output(image + sr if self.global_residual else sr, parsing)


class WNetReference(nn.Module):
    """(B, 3, h, w) in [0, 1] -> :class:`Output`. Takes the state dict of ``WNet`` with the same options."""

    def __init__(self, scale=8, num_feat=64, peak=8, y_from="deep", num_heads=4, skip=True, global_residual=True):
        super().__init__()
        self.scale = scale
        self.trunk = Trunk(num_feat, peak, y_from, num_heads, skip, global_residual)

    def forward(self, lq, return_aux: bool = True):
        out = self.trunk(self.enlarged(lq))
        return out if return_aux else out.sr

    def enlarged(self, lq):
        """Pillow's bicubic filter on 8-bit images, which test_wnet.py compares with Pillow itself."""
        return enlarge(lq, self.scale)
