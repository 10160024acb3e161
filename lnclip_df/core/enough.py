"""Whether there are enough videos for a figure to decide anything: the bound, and how a figure says that there are not.

With 20 videos of a class and a true AUROC of 0.9, measured AUROCs lie between 0.79 and 0.98 in 95 % of test sets, and
two equally good detectors differ by 7 points or more in one of ten. With fewer, neither a rank nor a threshold means
much (docs/sure.md).
"""

MIN_VIDEOS = 20  # of each class that a figure is made of
FEW = " (few)"
FEW_NOTE = f"(few): fewer than {MIN_VIDEOS} videos of a class, too few to rank detectors or to trust a p-value."


def are_few(*counts: int | None) -> bool:
    """Whether a class has too few videos; ``counts`` are those of the classes that a figure is made of.

    >>> are_few(12, 40), are_few(20, 40), are_few(None, 40)
    (True, False, False)
    """
    return any(count is not None and count < MIN_VIDEOS for count in counts)


def mark(*counts: int | None) -> str:
    """What stands behind a figure in a table: ``FEW`` where a class has too few videos, else nothing."""
    return FEW if are_few(*counts) else ""


def note(text: str) -> str:
    """``FEW_NOTE`` as a paragraph below a text that has a marked figure; else nothing."""
    return f"\n{FEW_NOTE}\n" if FEW in text else ""


def few_videos(reals: int | None, fakes: int | None, consequence: str) -> str:
    """A line on too few videos and what follows from that; empty where there are enough.

    >>> few_videos(12, 40, "the figures say little")
    'few videos (12 real, 40 fake; 20 of each are needed): the figures say little'
    """
    if not are_few(reals, fakes):
        return ""
    counts = ", ".join(f"{count} {kind}" for count, kind in ((reals, "real"), (fakes, "fake")) if count is not None)
    return f"few videos ({counts}; {MIN_VIDEOS} of each are needed): {consequence}"
