"""The report of a reproduction: what was done with what, what is missing and where to ask for it, the time it takes.

The same report, made before the work, is the plan that ``--dry-run`` shows.
"""

import shutil
from collections.abc import Mapping
from datetime import timedelta

from lnclip_df.core import enough
from lnclip_df.core.devices import usable_cores
from lnclip_df.core.errors import printable
from lnclip_df.core.files import read_json, write_json, write_text
from lnclip_df.core.provenance import versions
from lnclip_df.core.tables import MISSING, aligned_markdown, percent, show
from lnclip_df.evaluation.reference import column_of, reference
from lnclip_df.leaderboard import compare
from lnclip_df.reproduce.job import Job
from lnclip_df.reproduce.plan import BLOCKED, CROP_BYTES, FINISHED, KINDS, Plan, Record, seconds_for

NOTED = ("preprocess", "audit")  # the kinds of stages that leave notes


def make_report(job: Job, plan: Plan, records: Mapping[str, Record], failures: Mapping[str, str]) -> dict:
    """The report of a plan.

    Args:
        plan: the plan as it is now.
        records: of all stages.
        failures: what has failed in this run, by stage.

    Returns:
        ``detectors`` (their weights), ``datasets`` (what is on disk, the audit's problems, AUROCs and the published
        one), ``missing`` (why, and where to ask for it), ``stages`` (by kind: stages ``finished`` and ``to_do``,
        ``images`` to do, ``seconds`` taken, ``seconds_to_do`` estimated or None), ``failures``, ``compare`` (the text
        of ``lnclip-df compare``, or None), ``disk`` (bytes needed for faces, and free), ``versions`` and ``cores``.
    """
    finished = {stage.id for stage in plan.stages if stage.state == FINISHED}
    blocked = {stage.id: stage.why for stage in plan.stages if stage.state == BLOCKED and stage.kind == "train"}
    to_cut = sum(stage.images for stage in plan.to_do("preprocess"))
    return {
        "detectors": {name: _weights(job, name) for name in job.detectors},
        "datasets": {name: _dataset(job, plan, records, name) for name in job.datasets if not plan.disk[name].fault},
        "missing": {
            name: {"absent": facts.absent, "why": facts.fault, "access": job.datasets[name].access}
            for name, facts in plan.disk.items()
            if facts.fault
        },
        "stages": {kind: _stages(job, plan, records, kind) for kind in KINDS},
        "failures": {**blocked, **failures},
        "against": job.against,
        "compare": _compare(job) if "leaderboard" in finished else None,
        "disk": {"needed": to_cut * CROP_BYTES, "free": shutil.disk_usage(_existing(job.faces or job.root)).free},
        "versions": versions(),
        "cores": usable_cores(),
    }


def _existing(path):
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _weights(job, name):
    weights, config = job.detectors[name].weights, job.detectors[name].config
    of_training = weights is None or weights.model is not None
    trained_on = config.train_dataset if of_training else weights.facts.config.get("train_dataset")
    source = {} if weights is None else {"weights": str(weights), "sha256": weights.sha256}
    return {"trained_on": trained_on, "backbone": config.lnclip.backbone.name, **source}


def _dataset(job, plan, records, name):
    facts = plan.disk[name]
    published = reference().row(job.against).figure(column_of(name))
    tests = {
        stage.detector: read_json(stage.outputs[1])
        for stage in plan.stages
        if stage.kind == "test" and stage.dataset == name and stage.state == FINISHED
    }
    return {
        "videos": facts.videos,
        "faces": facts.faces,
        "crops": facts.crops,
        "test": facts.count["test"],
        **{kind: records[f"{kind} {name}"].note if f"{kind} {name}" in records else "" for kind in NOTED},
        "auroc": {detector: result["video"]["auroc"] for detector, result in tests.items()},
        "few": any(enough.are_few(result.get("reals"), result.get("fakes")) for result in tests.values()),
        "published": published and published.value / 100,
    }


def _stages(job, plan, records, kind):
    import torch

    of_kind, to_do = [stage for stage in plan.stages if stage.kind == kind], plan.to_do(kind)
    backbones = [made.config.lnclip.backbone.name for made in job.detectors.values()]
    measured = not torch.cuda.is_available() and all("ViT-L-14" in name for name in backbones)
    images, done = sum(stage.images for stage in to_do), [records[stage.id] for stage in of_kind if stage.id in records]
    return {
        "finished": sum(stage.state == FINISHED for stage in of_kind),
        "to_do": len(to_do),
        "again": {stage.id: stage.why for stage in to_do if stage.why},
        "images": images,
        "seconds": round(sum(record.seconds for record in done), 1),
        "seconds_to_do": seconds_for(kind, images, records, measured) if to_do else 0,
    }


def _compare(job):
    """The text of ``compare`` for the first detector; None where nothing was tested that the row has."""
    tested = any(column.dataset in job.tests for column in reference().all_columns)
    return str(compare(job.out / next(iter(job.detectors)), job.against)) if tested else None


def write_report(job: Job, report: dict):
    """Write ``report.json`` and ``report.md``."""
    write_json(job.out / "report.json", report)
    write_text(job.out / "report.md", text(report))


def text(report: dict) -> str:
    """A report as Markdown that a terminal can show too."""
    sets, failed = report["datasets"], report["failures"]
    notes = [f"{name}, {kind}: {of[kind]}" for name, of in sets.items() for kind in NOTED if of[kind]]
    again = [f"{name} again, {why}" for kind in report["stages"].values() for name, why in kind["again"].items()]
    missing = [_missing(name, facts) for name, facts in report["missing"].items()]
    blocks = [
        "# Reproduce the table",
        _bullets(_detector(name, made) for name, made in report["detectors"].items()),
        "## Data sets",
        _dataset_table(report),
        _bullets(notes),
        *(["## Missing", _bullets(missing)] if missing else []),
        "## Stages",
        _stage_table(report),
        _bullets(again),
        *(["## Failed or blocked", _bullets(f"{name}: {why}" for name, why in failed.items())] if failed else []),
        *([f"## Compared with {report['against']}", f"```\n{report['compare']}\n```"] if report["compare"] else []),
    ]
    return "\n\n".join(block.strip("\n") for block in blocks if block) + "\n"


def _bullets(lines):
    return "\n".join(f"* {printable(line)}" for line in lines)


def _detector(name, made):
    trained = f"trained on {', '.join(made['trained_on'] or ['data that are not recorded'])}"
    source = f", {made['weights']} (SHA-256 {made['sha256'][:10]})" if "weights" in made else ", here"
    return f"{name}: {made['backbone']}, {trained}{source}"


def _missing(name, facts):
    state = "not on disk" if facts["absent"] else "it cannot be used"
    return f"{name}, {state}: {facts['why'].removeprefix(f'{name}: ')}. Source: {facts['access'] or 'not known'}"


def _dataset_table(report):
    """One row per dataset that is on disk, then the missing ones, whose cells are empty."""
    detectors = list(report["detectors"])
    rows = [["data set", "videos", "with faces", "of test", *(f"{name}, AUROC" for name in detectors), "published"]]
    for name, facts in report["datasets"].items():
        values = map(facts["auroc"].get, detectors)
        figures = [percent(value) + enough.FEW * (facts["few"] and value is not None) for value in values]
        counts = [str(facts[key]) for key in ("videos", "faces", "test")]
        rows.append([name, *counts, *figures, percent(facts["published"])])
    rows += [[name, *[MISSING] * (len(rows[0]) - 1)] for name in report["missing"]]
    table = aligned_markdown(rows)
    return table + enough.note(table)


def _stage_table(report):
    rows = [["stage", "finished", "to do", "images to do", "took, h:min:s", "will take, about"]]
    for kind, facts in report["stages"].items():
        times = (facts["seconds"], facts["seconds_to_do"])
        shown = [show(seconds if seconds is None else timedelta(seconds=round(seconds))) for seconds in times]
        rows.append([kind, *map(str, (facts["finished"], facts["to_do"], facts["images"])), *shown])
    needed, free = (report["disk"][key] / 1e9 for key in ("needed", "free"))
    return aligned_markdown(rows) + (
        "\nTimes to come are estimates, by the rate of this run's finished stages, else by that of benchmarks/results "
        "on CPU cores.\nWhere neither has a rate there is a –. The faces to cut need about "
        f"{needed:.1f} GB; {free:.0f} GB are free.\n"
    )
