"""What became of every video of a run."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lnclip_df.core.errors import printable
from lnclip_df.media.recipe import Recipe
from lnclip_df.preprocess.manifest import worst
from lnclip_df.preprocess.paths import face_name
from lnclip_df.preprocess.records import DONE, Record

SHOWN = 20  # failures in the summary's text; the manifest has all


@dataclass
class Summary:
    """What became of every video of a run.

    Attributes:
        recipe: of the crops; of several recipes, their fingerprints alone.
        results: one record per video, in the order of the keys.
        seconds: wall time.
        folders: ``{key: folder of its crops}``.
        manifest: the CSV with one row per video.
        sheet: the JPEG with random crops, None where there is none.
        notes: what was passed over and how images were grouped, one line each.
    """

    out: Path
    recipe: Recipe
    results: list[Record] = field(default_factory=list)
    seconds: float = 0.0
    folders: dict[str, Path] = field(default_factory=dict)
    manifest: Path | None = None
    sheet: Path | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Number of videos by outcome: ``done``, ``no face``, ``unreadable``."""
        return dict(Counter(result.outcome for result in self.results))

    @property
    def resumed(self) -> int:
        """Number of videos that an earlier run had finished."""
        return sum(result.resumed for result in self.results)

    @property
    def faces(self) -> int:
        """Number of faces on disk."""
        return sum(len(result.saved) for result in self.results)

    @property
    def failures(self) -> list[tuple[str, str]]:
        """``(key, reason)`` of every video without a face on disk."""
        return [(result.key, result.reason) for result in self.results if result.outcome != DONE]

    @property
    def mixed(self) -> list[str]:
        """The keys of videos whose largest face is not always the same person's, as far as is seen in single frames."""
        return [result.key for result in self.results if result.people > 1]

    def frame_paths(self) -> dict[str, list[Path]]:
        """``{key: paths of its faces, in time order}`` of every video that has any; ``media.crop_files`` reads tars."""
        return {
            result.key: [self.folders[result.key] / face_name(index) for index in result.saved]
            for result in self.results
            if result.outcome == DONE
        }

    def __str__(self):
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.counts.items()))
        head = f"{len(self.results)} videos: {counts} ({self.resumed} from before), {self.faces} faces"
        failures = [printable(f"  {key}: {reason}") for key, reason in self.failures[:SHOWN]]
        more = [f"  and {len(self.failures) - SHOWN} more: see {self.manifest}"] if self.failures[SHOWN:] else []
        return "\n".join([f"{head}, {self.seconds:.1f} s", *map(printable, self.notes), *failures, *more])

    def report(self) -> str:
        """The text of the summary, and what to check: the worst videos, the table of all, the sheet of crops."""
        fewest = worst([record for record in self.results if record.outcome == DONE])
        fewest = [record for record in fewest if len(record.saved) < record.asked]
        lines = ["videos with the fewest faces:"] if fewest else []
        for record in fewest:
            found = f"{len(record.saved)} of {record.asked} frames, mean score {record.score:.2f}"
            lines.append(printable(f"  {record.key}: {found}"))
        if self.mixed:
            lines.append(printable(f"faces of several people in {len(self.mixed)} videos, such as {self.mixed[0]}"))
        changed = [record for record in self.results if record.changes]
        if changed:
            lines.append("frames that were changed before faces were searched:")
        for record in changed[:SHOWN]:
            changes = ", ".join(f"{what} {how}" for what, how in record.changes.items())
            lines.append(printable(f"  {record.key}: {changes}"))
        if changed[SHOWN:]:
            lines.append(f"  and {len(changed) - SHOWN} more")
        lines.append(f"recipe {self.recipe.fingerprint}; every video: {self.manifest}")
        if self.sheet:
            lines.append(f"check by eye: {self.sheet}")
        return "\n".join([str(self), *lines])
