"""The role of each key of a detector YAML: what it changes, and when.

What predictions depend on, what a resumed training must keep, and what the record of a run compares, in which order,
all follow from these roles. A key without a role counts as one that changes everything.
"""

from dataclasses import dataclass

STAGES = ("input", "data", "model", "loss", "optimisation", "unknown", "selection")


@dataclass(frozen=True)
class Role:
    """What a key changes.

    Attributes:
        predicts: the predictions that given weights make.
        trains: what a training learns.
        fixed: a resumed training must have the same value.
        location: it says where data lie, and changes predictions only where other data lie there.
        host: who reads the data and runs the loop applies it; under ``lnclip`` it has no effect inside DeepfakeBench.
        stage: where in the chain of causes it acts, one of ``STAGES``.
    """

    predicts: bool = False
    trains: bool = False
    fixed: bool = False
    location: bool = False
    host: bool = False
    stage: str = "unknown"


INPUT = Role(predicts=True, trains=True, fixed=True, stage="input")  # what a frame becomes before the network
FRAMES = Role(predicts=True, trains=True, fixed=True, host=True, stage="data")
TEST_FRAMES = Role(predicts=True, fixed=True, host=True, stage="data")
TRAINING_DATA = Role(trains=True, fixed=True, host=True, stage="data")
AUGMENTATION = TRAINING_DATA
MODEL = Role(predicts=True, trains=True, fixed=True, stage="model")
TUNING = Role(trains=True, fixed=True, stage="model")
LABELS = Role(fixed=True)  # a changed label is a changed video list, which every record has
LOSS = Role(trains=True, fixed=True, stage="loss")
OPTIMISATION = Role(trains=True, fixed=True, stage="optimisation")
LENGTH = Role(trains=True, stage="optimisation")  # a resumed training may go on for longer
PRECISION = Role(predicts=True, trains=True, fixed=True, stage="optimisation")
SELECTION = Role(trains=True, fixed=True, host=True, stage="selection")
LOCATION = Role(predicts=True, location=True, host=True)
SPEED = Role()  # how fast, and on what
HOST = Role(host=True)  # read by DeepfakeBench alone, or without effect
UNKNOWN = Role(predicts=True, trains=True, fixed=True)
