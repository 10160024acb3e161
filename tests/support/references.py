"""Scores whose calibration is known, and Wilson's interval as its quadratic says it."""

import math

import numpy as np


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
