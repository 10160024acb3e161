"""The authors' augmentation as albumentations draws and applies it."""

from functools import partial

import albumentations as A

from lnclip_df.training.augmentation import affine, blur, jpeg


class Drawn(A.ImageOnlyTransform):
    """Applies ``function(image, **numbers)``, each number drawn evenly from its range, with probability ``p``."""

    def __init__(self, function, ranges, p=1.0):
        super().__init__(p=p)
        self.function, self.ranges = function, ranges

    def get_params(self):
        return {name: self.py_random.uniform(*limits) for name, limits in self.ranges.items()}

    def apply(self, img, **params):
        return self.function(img, **{name: params[name] for name in self.ranges})


def in_albumentations(kernel, blurred):
    """The authors' augmentation as a list of albumentations transforms."""
    turn = {"angle": (-10, 10), "dx": (-0.1, 0.1), "dy": (-0.1, 0.1), "scale": (0.9, 1.1)}
    jitter = A.ColorJitter(brightness=(0.9, 1.1), contrast=(0.9, 1.1), saturation=(1.0, 1.0), hue=(0.0, 0.0), p=1.0)
    blurs = Drawn(partial(blur, kernel=kernel), {"sigma": (0.1, 2.0)}, p=blurred)
    return [A.HorizontalFlip(p=0.5), Drawn(affine, turn), blurs, jitter, Drawn(jpeg, {"quality": (40, 101)})]
