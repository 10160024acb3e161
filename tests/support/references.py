"""References: calibrated scores, Wilson's interval, the learning rate and the crops of the authors' later release."""

import math

import numpy as np
import torch
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LinearLR, SequentialLR


def drawn(n=4000, temperature=2.5, seed=0):
    """Probabilities that are right once their logits are divided by ``temperature``."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0.5, 2, n)
    label = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    return label, 1 / (1 + np.exp(-logit * temperature))


def naive_wilson(k, n, z=1.959963984540054):
    """Wilson's bounds: the roots p of (k/n − p)² = z² p(1 − p)/n."""
    a, b, c = 1 + z * z / n, -(2 * k / n + z * z / n), (k / n) ** 2
    root = math.sqrt(max(0, b * b - 4 * a * c))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def later_release_rates(steps, epochs):
    """The learning rate of each step in the authors' later release, by PyTorch's own schedulers, stepped by batch."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    warmup = LinearLR(optimizer, start_factor=1e-5 / 3e-4, total_iters=steps)
    restarts = CosineAnnealingWarmRestarts(optimizer, T_0=10 * steps, eta_min=1e-5)
    scheduler = SequentialLR(optimizer, [warmup, restarts], milestones=[steps])
    rates = []
    for _ in range(steps * epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def gend_crop(image, points, scale):
    """GenD's crop, one step after the other as its detector.py describes them."""
    import cv2

    template = [(0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.37, 0.82), (0.63, 0.82)]
    ratios = [
        np.hypot(*np.subtract(points[i], points[j])) / np.hypot(*np.subtract(template[i], template[j]))
        for i in range(5)
        for j in range(i)
    ]
    side = int(np.round(np.mean(ratios) * scale))
    margin = side * (scale - 1) / 2
    target = [[(value * side + margin) * side / (side + 2 * margin) for value in point] for point in template]
    matrix = cv2.estimateAffinePartial2D(np.float32(points), np.float32(target), method=cv2.LMEDS)[0]
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR)
