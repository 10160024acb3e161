"""The page: a box for files, a button, and the answer."""

import json
import logging
import threading
from dataclasses import replace
from pathlib import Path

import gradio as gr

from lnclip_df import __version__
from lnclip_df.app import show
from lnclip_df.app.uploads import Uploads
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.media.discover import SUFFIXES
from lnclip_df.scoring.explanations import heat_of, most_suspicious
from lnclip_df.scoring.options import ScoreOptions

MOST = 12  # files at once
SHOWN = 3  # people whose faces are shown
BATCH = 8  # faces scored between two steps of the progress bar
QUEUE = 20  # visitors who may wait
WHAT = (
    "# Is this a deepfake?\n"
    "Faces in a video or image are scored frame by frame, and the score is their mean. **A score is evidence, not "
    "proof:** the detector errs, most of all on kinds of forgery, compression and people that it was not trained on."
)
EMPTY = '<p class="soft">The answer comes here.</p>'
FAILED = "Something went wrong here, and nothing was scored; whoever runs this page finds the reason in its log."
NAMES = "(files) => JSON.stringify((files ?? []).map((file) => file.path))"  # the files themselves stay where they are

logger = logging.getLogger(__name__)


def build(scorer, uploads: Uploads, *, most: int, max_seconds: float) -> gr.Blocks:
    """Build the page.

    Args:
        scorer: see :func:`lnclip_df.load`.
        uploads: where the files go.
        most: bytes of one upload.
        max_seconds: how long a video may last.
    """
    desk = Desk(scorer, uploads, max_seconds)

    def chosen(names, request: gr.Request):
        uploads.hold(request.session_hash, request.session_hash, _paths(names))

    def take(names, request: gr.Request):
        ticket = uploads.take(request.session_hash, _paths(names))
        uploads.drop(request.session_hash)
        return None, "[]", ticket, EMPTY

    def answer(ticket, everyone, progress=gr.Progress()):  # noqa: B008
        return desk.answer(ticket, everyone, lambda share, what: progress(share, desc=what))

    def leave(request: gr.Request):
        uploads.leave(request.session_hash)
        page.state_holder.session_data.pop(request.session_hash, None)  # the answer is in it

    private = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    with gr.Blocks(title="lnclip-df", analytics_enabled=False) as page:
        gr.Markdown(WHAT, elem_id="top")
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                box = gr.File(label="Video or images", file_count="multiple", file_types=list(SUFFIXES), height=190)
                everyone = gr.Checkbox(label="Everybody in the picture, not only the largest face")
                check = gr.Button("Check", variant="primary")
                gr.HTML(_small_print(scorer, most, max_seconds), elem_classes="lncl")
            with gr.Column(scale=5, min_width=320):
                out = gr.HTML(EMPTY, elem_id="answer", elem_classes="lncl", min_height=150)
        names, ticket = gr.Textbox("[]", visible=False), gr.Textbox(visible=False)
        box.change(None, box, names, js=NAMES, **private).then(chosen, names, None, **private)
        check.click(take, names, [box, names, ticket, out], **private).then(
            answer, [ticket, everyone], out, api_visibility="private", concurrency_limit=1
        )
        page.unload(leave)
    return page.queue(max_size=QUEUE)


class Desk:
    """Scores the files of one ticket after another, and deletes them.

    Args:
        scorer: see :func:`lnclip_df.load`.
        uploads: what the tickets are of.
        max_seconds: how long a video may last.
    """

    def __init__(self, scorer, uploads: Uploads, max_seconds: float):
        self.scorer, self.uploads, self.max_seconds = scorer, uploads, max_seconds
        self._one = threading.Lock()

    def answer(self, ticket: str, everyone: bool, progress) -> str:
        """The results of a ticket's files as HTML, or in one line why there are none; then the files are gone.

        Args:
            ticket: see :meth:`lnclip_df.app.uploads.Uploads.take`.
            everyone: score all people, not only the largest face.
            progress: called with the share of the work that is done, and what is being done.
        """
        try:
            with self._one:
                return self._answer(ticket, everyone, progress)
        except LNCLIPError as error:
            return show.refusal(str(error).replace(f"{self.uploads.folder}/", ""))
        except Exception:
            logger.exception("a file could not be scored")
            return show.refusal(FAILED)
        finally:
            self.uploads.drop(ticket)

    def _answer(self, ticket, everyone, progress):
        paths = self.uploads.files(ticket)
        if not paths:
            return show.refusal("Choose a video or images first; what was chosen long ago has been deleted.")
        if len(paths) > MOST:
            return show.refusal(f"{len(paths)} files are too many; {MOST} can be checked at once.")
        cards = []
        for at, path in enumerate(paths):
            cards.append(self._card(ticket, path, everyone, _part(progress, at, len(paths), path.name)))
        return "".join(cards)

    def _card(self, ticket, path, everyone, progress):
        def tick(done, count):
            if not self.uploads.files(ticket):
                raise LNCLIPError("the visitor has left")
            progress(0.2 + 0.6 * done / count, f"{done} of {count} faces scored")

        progress(0.0, "looking for faces")
        options = ScoreOptions(all_faces=everyone, max_seconds=self.max_seconds, batch_size=BATCH)
        (result,) = self.scorer.results([path], options, keep_crops=True, on_progress=tick)
        progress(0.8, "drawing heat maps")
        faces = [
            (person, [(frame, heat_of(self.scorer, frame)) for frame in most_suspicious(person.frames)])
            for person in result.persons[:SHOWN]
        ]
        facts = {"weights": self.scorer.weights["sha256"], "version": __version__}
        return show.card(replace(result, path=path.name), faces, facts)


def _part(progress, at, count, name):
    """The progress of one file among several."""
    return lambda share, what: progress((at + share) / count, f"{name}: {what}")


def _paths(names):
    """The paths that the page names, as JSON."""
    try:
        found = json.loads(names)
    except ValueError as error:
        raise LNCLIPError("the page sent no list of files") from error
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise LNCLIPError("the page sent no list of files")
    return [Path(name) for name in found]


def _small_print(scorer, most, max_seconds):
    """The limits, what happens to the files, and which weights score them."""
    kinds = " ".join(suffix[1:] for suffix in SUFFIXES)
    lines = (
        f"At most {MOST} files, {most / (1 << 20):g} MB in all, a video {max_seconds:g}&nbsp;s: {kinds}.",
        "Files are deleted once they are scored, and when you leave. Results are not stored.",
        f"Weights {scorer.weights['sha256'][:12]}, lnclip-df {__version__}.",
    )
    return "".join(f'<p class="soft">{line}</p>' for line in lines)
