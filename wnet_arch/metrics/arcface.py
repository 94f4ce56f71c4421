"""ArcFace and AdaFace networks from a user's checkpoint, through facexlib's backbone.

Deng et al., ArcFace (CVPR 2019); Kim et al., AdaFace (CVPR 2022). Both train the same "IR" ResNet, with small differences
that can be read off a checkpoint's names: AdaFace normalises once more inside each block and has no scale and offset in its
last normalisation. facexlib's backbone is changed accordingly, so that every name and every shape must agree.
"""

from __future__ import annotations

import re

import cv2
import numpy as np
import torch
from torch import nn

from wnet_arch.errors import WeightsError
from wnet_arch.faces.landmarks import five_points
from wnet_arch.weights.checkpoint import read_state_dict

#: Side of an aligned face, and where both eyes' centres, the nose's tip and the mouth's corners lie in it (x, y).
SIDE = 112
TEMPLATE = np.array(((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)))
#: Residual blocks of each depth, by its number in facexlib (IR-101 is called 100 there).
_DEPTHS = {24: 50, 49: 100, 50: 152}


def align(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Cuts the face out as these networks were trained: rotated, scaled and moved onto :data:`TEMPLATE`.

    Args:
        image: uint8 (H, W, 3).
        points: (68, 2), iBUG order, in pixels.

    Returns:
        uint8 (112, 112, 3).
    """
    # A similarity is z -> a z + b in the complex plane; a and b by least squares.
    source, target = five_points(points).astype(np.float64) @ (1, 1j), TEMPLATE @ (1, 1j)
    moved = source - source.mean()
    a = np.vdot(moved, target) / np.vdot(moved, moved)
    b = target.mean() - a * source.mean()
    matrix = np.array(((a.real, -a.imag, b.real), (a.imag, a.real, b.imag)))
    return cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)


def load(path: str) -> tuple[nn.Module, str]:
    """Builds the network of a checkpoint, by the names and shapes in it.

    Args:
        path: ``.pth``, ``.ckpt`` or ``.safetensors``; a bare state dict or one under ``state_dict``. Names may begin with
            ``model.`` (AdaFace's training code); the classifier ``head.`` is left out.

    Returns:
        The network in evaluation mode: (B, 3, 112, 112) in [-1, 1] to (B, 512) of unit length. And its name, as ``IR-50``.

    Raises:
        WeightsError: unreadable, or of another network; the first names that are missing or unexpected are listed.
    """
    state = read_state_dict(path, "state_dict")
    state = {name.removeprefix("model."): value for name, value in state.items() if not name.startswith("head.")}
    blocks = 1 + max((int(name.split(".")[1]) for name in state if re.match(r"body\.\d+\.", name)), default=-1)
    if "input_layer.0.weight" not in state or blocks not in _DEPTHS:
        first = next(iter(state), "nothing")
        raise WeightsError(
            f"{path} is not an ArcFace or AdaFace IR network with 24, 49 or 50 blocks named body.N (it begins with {first})"
        )
    squeezed = any(name.endswith(".fc1.weight") for name in state)
    net = _build(_DEPTHS[blocks], squeezed, "body.0.res_layer.2.running_mean" in state, "output_layer.4.weight" in state)
    _load_strictly(net, state, path)
    depth = {100: 101}.get(_DEPTHS[blocks], _DEPTHS[blocks])
    return net.eval().requires_grad_(False), f"IR{'-SE' if squeezed else ''}-{depth}"


def _build(depth: int, squeezed: bool, norm_inside: bool, last_affine: bool) -> nn.Module:
    """facexlib's backbone, with the second normalisation of AdaFace's blocks and without its last scale, if need be."""
    from facexlib.recognition.arcface_arch import Backbone

    with torch.device("meta"):  # no memory, no initial values: the checkpoint has all
        net = Backbone(depth, 0.0, "ir_se" if squeezed else "ir")
        if norm_inside:
            for block in net.body:
                layers = list(block.res_layer)
                block.res_layer = nn.Sequential(*layers[:2], nn.BatchNorm2d(layers[1].out_channels), *layers[2:])
        if not last_affine:
            net.output_layer[-1] = nn.BatchNorm1d(512, affine=False)
    return net


def _load_strictly(net: nn.Module, state: dict[str, torch.Tensor], path: str) -> None:
    own = net.state_dict()
    for name in own:
        if name.endswith("num_batches_tracked"):  # old checkpoints lack it, and inference does not use it
            state.setdefault(name, torch.zeros((), dtype=torch.long))
    problems = [f"{name} is missing" for name in own if name not in state]
    problems += [f"{name} is unexpected" for name in state if name not in own]
    problems += [
        f"{name} is {list(state[name].shape)}, not {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise WeightsError(f"{path} is not an ArcFace or AdaFace IR network: {'; '.join(problems[:3])}{more}")
    net.load_state_dict(state, assign=True)
    net.float()
