"""A file of a detector's weights, resolved once: path, hash, facts, format and tensors."""

import logging
from functools import cached_property
from pathlib import Path

from lnclip_df.config.loading import load_config, make_config
from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import sha256
from lnclip_df.weights.delta import FROZEN, hash_of_tensor
from lnclip_df.weights.facts import Facts
from lnclip_df.weights.formats import Recognised, recognise
from lnclip_df.weights.hub import fetch_model, find_weights
from lnclip_df.weights.read import read_metadata, read_weights
from lnclip_df.weights.zoo import ReleasedModel, find_model, released_models

LARGEST_DELTA = 64 << 20  # bytes; a delta of ViT-L/14 has 0.5 MB

logger = logging.getLogger(__name__)


class Checkpoint:
    """A file of a detector's weights; its hash and facts are read when first needed, and once.

    ``path`` is the file, ``source`` what the user named: the file, its folder, a Hub repository, or a released model.
    ``model`` says what is known of the latter two, where it is one of ``bench_configs/models.yaml``.
    """

    def __init__(self, path: Path, source: str | None = None, model: ReleasedModel | None = None):
        self.path = path
        self.source = str(path) if source is None else source
        self.model = model

    @classmethod
    def open(cls, weights) -> "Checkpoint":
        """Find a file of weights; a ``Checkpoint`` is returned as it is.

        Args:
            weights: a file; a folder that contains one of ``lnclip_df.weights.hub.NAMES``; a released model such as
                ``gend-clip``, at its revision; or a Hub repository such as ``yermandy/GenD_CLIP_L_14``, the newest.

        Raises:
            LNCLIPError: there is none, the Hub cannot be reached, or a released model's file has another hash.
        """
        if isinstance(weights, cls):
            return weights
        name, model = str(weights), find_model(str(weights))
        if model is None or name not in released_models():
            return cls(find_weights(weights), name, model)
        found = cls(fetch_model(model), name, model)
        if model.sha256 not in (None, found.sha256):
            raise LNCLIPError(
                f"{name}: {found.path} has SHA-256 {found.sha256}, and the released file has {model.sha256}; remove "
                "it, and it is fetched again"
            )
        return found

    def __str__(self) -> str:
        return self.source

    def _facts_of_state_dict(self):
        """What a PyTorch file without metadata says of itself: whether it is a delta, and of which backbone."""
        if self.path.stat().st_size > LARGEST_DELTA:
            return Facts()
        found = read_weights(self.path).tensors.get(FROZEN)
        return Facts() if found is None else Facts(format="delta", frozen={"sha256": hash_of_tensor(found)})

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the file."""
        return sha256(self.path)

    @cached_property
    def facts(self) -> Facts:
        """What was saved with the weights, from the file's header alone; LNCLIPError if it is damaged."""
        return Facts.from_metadata(read_metadata(self.path), self.path) or self._facts_of_state_dict()

    @cached_property
    def format(self) -> str:
        """The format in words; reads the tensors unless :meth:`read` has."""
        return self.read().format

    def read(self) -> Recognised:
        """Read the tensors under a detector's names. They are not kept: ViT-L/14 has 1.2 GB.

        Raises:
            LNCLIPError: the file is truncated, hostile, or not a detector's weights.
        """
        found = recognise(read_weights(self.path), self.facts)
        self.__dict__["format"] = found.format
        return found

    def config_for(self, config=None, overrides=()) -> Config:
        """Return the configuration of the weights.

        By default it is ``config.yaml`` beside the weights, else the one saved with them, else that of a
        released model, else ``lnclip.yaml``. For arguments and errors see ``lnclip_df.load_config``.
        """
        if config is None and self._beside.is_file():
            config = self._beside
        if config is None and self.facts.config:
            return make_config(self.facts.config, overrides, f"the configuration saved in {self.path}")
        if config is None and self.model is not None:
            found = self.model.config(overrides)
            logger.info(
                "%s: the configuration is %s (%s, lnclip.resize %s), and its crops are of recipe %s", self,
                self.model.yaml, found.lnclip.backbone.name, found.lnclip.resize, self.model.recipe,
            )  # fmt: skip
            return found
        return load_config(config or "lnclip.yaml", overrides)

    @property
    def _beside(self):
        return self.path.parent / "config.yaml"
