"""The page: a box for files, a button, and the results."""

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from pydantic import TypeAdapter, ValidationError

from lnclip_df import __version__
from lnclip_df.app.cards import message_card, result_card, results_html
from lnclip_df.app.middleware import VISITOR
from lnclip_df.app.uploads import Uploads
from lnclip_df.core.errors import LNCLIPError, NotEnoughMemory, enough_memory
from lnclip_df.media.kinds import SUFFIXES
from lnclip_df.scoring.explanations import heat_of, most_suspicious
from lnclip_df.scoring.finder_process import FinderProcess
from lnclip_df.scoring.heatmaps import gives_attention
from lnclip_df.scoring.scorer import Scorer

MAX_FILES = 12  # at once
MAX_TEXT = 1 << 16  # characters of a list of their paths
SHOWN_PERSONS = 3
BATCH = 8  # faces between two steps of the progress bar
MEMORY = 1024  # megabytes that reading a file may take
MAX_WAITING = 20  # visitors
INTRODUCTION = (
    "# Is this a deepfake?\n"
    "Faces in a video or image are scored frame by frame, and the score is their mean. **A score is evidence, not "
    "proof:** the detector makes errors, above all on forgeries, compression and people unlike those it was trained on."
)
EXAMPLE = Path(__file__).with_name("examples") / "synthetic-face-swap.mp4"  # of the demo
EMPTY = (
    '<div class="empty"><p><b>Choose a video or images</b>, or press <b>Try an example</b>: a synthetic face swap.</p>'
    "<p>The result has a score and its threshold, the scores over time, and for the faces of the highest scores a heat "
    "map of where the detector sees signs of a fake.</p></div>"
)
FAILED = "Something went wrong here, and nothing was scored; the operator of this page finds the reason in its log."
PATHS = "(files) => JSON.stringify((files ?? []).map((file) => file.path))"  # the files themselves are not sent again

logger = logging.getLogger(__name__)


def build(scorer: Scorer, uploads: Uploads, *, max_bytes: int, max_seconds: float) -> gr.Blocks:
    """Build the page; an upload may have ``max_bytes``, and a video ``max_seconds``."""
    handlers = PageHandlers(scorer, uploads, max_seconds)

    def files_changed(paths, request: gr.Request):
        session = str(request.session_hash)
        uploads.lease(session, session, _own_paths(paths, request))

    def start(paths, request: gr.Request):
        session = str(request.session_hash)
        try:
            ticket = uploads.new_ticket(session, _own_paths(paths, request))
        except LNCLIPError as error:
            return None, "[]", "", message_card(_without_folders(str(error)))
        finally:
            uploads.release(session)
        return None, "[]", ticket, ""  # where the progress is shown

    def start_example(request: gr.Request):
        try:
            return uploads.new_ticket(str(request.session_hash), [uploads.add_copy(EXAMPLE)]), ""
        except LNCLIPError as error:
            return "", message_card(str(error))

    def _own_paths(text, request):
        return uploads.owned(request.cookies.get(VISITOR), _parse_paths(text))

    def score(ticket, all_faces, progress=gr.Progress()):  # noqa: B008
        return handlers.score(ticket, all_faces, lambda share, text: progress(share, desc=text))

    def leave(request: gr.Request):
        uploads.release_session(str(request.session_hash))
        page.state_holder.session_data.pop(request.session_hash, None)  # which contains the result

    accepted = " ".join(suffix[1:] for suffix in SUFFIXES)
    notes = [
        f"At most {MAX_FILES} files, {max_bytes / (1 << 20):g} MB in all, {max_seconds:g} s per video: {accepted}.",
        "Files are deleted after they are scored, and when you leave. Results are not stored.",
        f"Weights {scorer.weights.sha256[:12]}, lnclip-df {__version__}.",
    ]
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    with gr.Blocks(title="lnclip-df", analytics_enabled=False) as page:
        gr.Markdown(INTRODUCTION, elem_id="top")
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                box = gr.File(label="Video or images", file_count="multiple", file_types=list(SUFFIXES), height=190)
                all_faces = gr.Checkbox(label="Everybody in the picture, not only the largest face")
                check = gr.Button("Check", variant="primary")
                example = gr.Button("Try an example", variant="secondary")
                gr.HTML("".join(f'<p class="soft">{note}</p>' for note in notes), elem_classes="lncl")
            with gr.Column(scale=5, min_width=320):
                out = gr.HTML(EMPTY, elem_id="answer", elem_classes="lncl", min_height=150)
        paths, ticket = gr.Textbox("[]", visible=False), gr.Textbox(visible=False)
        latest = private | {"trigger_mode": "always_last"}  # a step of a chain drops changes meanwhile without it
        box.change(None, box, paths, js=PATHS, **latest).then(files_changed, paths, None, **latest)
        for started in (
            check.click(start, paths, [box, paths, ticket, out], **private),
            example.click(start_example, None, [ticket, out], **private),
        ):
            started.then(score, [ticket, all_faces], out, api_visibility="private", concurrency_id="score")
        page.unload(leave)
    return page.queue(max_size=MAX_WAITING)


class PageHandlers:
    """Scores the files of one ticket of ``uploads`` at a time, and deletes them."""

    def __init__(self, scorer: Scorer, uploads: Uploads, max_seconds: float):
        self.scorer, self.uploads, self.max_seconds = scorer, uploads, max_seconds
        self.finder = FinderProcess(MEMORY)
        self._lock = threading.Lock()

    def score(self, ticket: str, all_faces: bool, progress: Callable[[float, str], None]) -> str:
        """The results of a ticket's files as HTML, or the reason why there are none; then the files are deleted.

        With ``all_faces`` all people are scored, not only the largest face. ``progress`` is called with the share of
        the work that is done, and the current step.
        """
        try:
            with self._lock, enough_memory("lnclip-df app --device names another device"):
                return self._score(ticket, all_faces, progress)
        except NotEnoughMemory as error:
            logger.error("a file could not be scored: %s", error)
            return message_card(FAILED)
        except LNCLIPError as error:
            return message_card(_without_folders(str(error)))
        except Exception:
            logger.exception("a file could not be scored")
            return message_card(FAILED)
        finally:
            self.uploads.release(ticket)

    def _score(self, ticket, all_faces, progress):
        paths = self.uploads.files(ticket)
        if not paths:
            return message_card("Choose a video or images first; files chosen long ago were deleted.")

        def step(share, text):
            progress((index + share) / len(paths), f"{path.name}: {text}")

        results, cards = [], []
        for index, path in enumerate(paths):  # noqa: B007
            result, card = self._result(ticket, path, all_faces, step)
            results.append(result)
            cards.append(card)
        return results_html(results, cards)

    def _result(self, ticket, path, all_faces, progress):
        def on_progress(done, count):
            if not self.uploads.files(ticket):
                raise LNCLIPError("the visitor has left")
            progress(0.2 + 0.6 * done / count, f"{done} of {count} faces scored")

        progress(0.0, "finding faces")
        options = self.scorer.options(all_faces=all_faces, max_seconds=self.max_seconds, batch_size=BATCH)
        (result,) = self.scorer.results([path], options, keep_crops=True, on_progress=on_progress, finder=self.finder)
        progress(0.8, "drawing heat maps")
        heat = partial(heat_of, self.scorer) if gives_attention(self.scorer.detector) else lambda frame: None
        faces = [
            (person, [(frame, heat(frame)) for frame in most_suspicious(person.frames)])
            for person in result.persons[:SHOWN_PERSONS]
        ]
        facts = {"weights": self.scorer.weights.sha256, "version": __version__}
        result = replace(result, path=path.name, reason=_without_folders(result.reason))
        return result, result_card(result, faces, facts)


def _parse_paths(text):
    """The paths that the page sends, as JSON; their number and length are checked before anything is resolved."""
    try:
        names = TypeAdapter(list[str]).validate_json(text[:MAX_TEXT])
    except (ValidationError, TypeError) as error:
        raise LNCLIPError("the page sent no list of files") from error
    if len(names) > MAX_FILES:
        raise LNCLIPError(f"{len(names)} files are too many; {MAX_FILES} can be checked at once.")
    return [Path(name) for name in names if "\0" not in name]


def _without_folders(text):
    """A message without the folders of absolute paths: visitors learn nothing of the server's disk."""
    return re.sub(r"(?<![\w.])/(?:[^\s/]+/)+", "", text)
