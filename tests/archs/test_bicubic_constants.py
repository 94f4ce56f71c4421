"""The constants of the bicubic enlargement: made once a device, type and size, and fit for training wherever they were made."""

from __future__ import annotations

import torch

from wnet_arch.archs.ops import bicubic as enlarging


def test_constants_are_made_once_and_change_nothing(monkeypatch):
    made = []
    monkeypatch.setattr(enlarging, "_TENSORS", {})
    monkeypatch.setattr(enlarging, "_filter", lambda *size, plain=enlarging._filter: made.append(size) or plain(*size))
    lq = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    first, again = (enlarging.enlarge(lq, 4) for _ in range(2))
    assert made == [(7, 4), (5, 4)]
    assert torch.equal(first, again)
    exact = enlarging.enlarge(lq.double(), 4)
    assert made == [(7, 4), (5, 4)] * 2
    assert torch.equal(exact.float(), first)


def test_constants_made_in_inference_serve_a_training(monkeypatch):
    monkeypatch.setattr(enlarging, "_TENSORS", {})
    lq = torch.rand(1, 3, 4, 4, requires_grad=True)
    with torch.inference_mode():
        enlarging.enlarge(lq, 4)
    enlarging.enlarge(lq, 4).sum().backward()
    assert lq.grad is not None
