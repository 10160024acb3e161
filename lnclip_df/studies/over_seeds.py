"""The figures of a study over the seeds of its trials."""

import statistics
from collections.abc import Iterable
from typing import Any

from lnclip_df.core.tables import MISSING, percent
from lnclip_df.studies.trials import Result

PARTS = {
    "FaceForensics++": {"FF-DF", "FF-F2F", "FF-FS", "FF-NT"},
    "LNCLIP-demo": {"LNCLIP-demo-swap", "LNCLIP-demo-reenact"},
}

Spread = dict[str, Any]


def spread(values: Iterable[float | None]) -> Spread | None:
    """Mean, sample standard deviation (None of one value) and number of the values that are not None; None without any.

    >>> spread([0.5, None, 0.75])
    {'mean': 0.625, 'std': 0.1767766952966369, 'n': 2}
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    std = statistics.stdev(known) if len(known) > 1 else None
    return {"mean": statistics.fmean(known), "std": std, "n": len(known)}


def spread_text(value: Spread | None) -> str:
    """A ``spread`` of AUROCs in %.

    >>> spread_text({"mean": 0.9, "std": 0.0123, "n": 3}), spread_text({"mean": 0.9, "std": None, "n": 1})
    ('90.0 ± 1.2', '90.0')
    """
    if value is None:
        return MISSING
    return percent(value["mean"]) + ("" if value["std"] is None else f" ± {percent(value['std'])}")


def is_cross(trained: Iterable[str], tested: str) -> bool:
    """Whether a data set is unrelated to all that was trained on: neither the same, nor a part, nor the whole.

    >>> is_cross(["FaceForensics++-paired"], "FF-DF"), is_cross(["FF-DF"], "FF-NT"), is_cross(["FFIW"], "DFDC")
    (False, True, True)
    """
    return all(_unrelated(_whole(name), _whole(tested)) for name in trained)


def _unrelated(a, b):
    return a != b and b not in PARTS.get(a, ()) and a not in PARTS.get(b, ())


def _whole(name):
    for suffix in ("-paired", "-unpaired", "_c40"):
        name = name.removesuffix(suffix)
    return name


def cross_mean(result: Result) -> float | None:
    """Mean AUROC of a trial over the tested data sets unrelated to its training; None without any."""
    values = [figures["auroc"] for name, figures in result.tests.items() if is_cross(result.trained, name)]
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def by_group(results: Iterable[Result]) -> dict[str, list[Result]]:
    """The results of each group, in order."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.group, []).append(result)
    return groups


def group_rows(results: Iterable[Result]) -> list[dict[str, Any]]:
    """One row per group: ``auroc`` by data set, ``cross_mean`` and ``val`` (at the best epoch), each a ``spread``."""
    rows = []
    for group, members in by_group(results).items():
        names = dict.fromkeys(name for result in members for name in result.tests)
        rows.append(
            {
                "group": group,
                "seeds": [result.seed for result in members],
                "auroc": {name: spread(r.tests.get(name, {}).get("auroc") for r in members) for name in names},
                "cross_mean": spread(map(cross_mean, members)),
                "val": spread(result.best["val"]["auroc"] for result in members),
            }
        )
    return rows


def tested_names(rows: Iterable[dict[str, Any]]) -> list[str]:
    """The data sets that the rows of ``group_rows`` have figures of, in order."""
    return list(dict.fromkeys(name for row in rows for name in row["auroc"]))
