"""A seeded mutator of files, and a runner that reads each mutant in a child process and says how that ended.

``python tests/security/fuzzing.py SECONDS [SEED [READER…]]`` fuzzes for so long and prints one line per fault.
"""

import copy
import io
import json
import os
import random
import re
import signal
import struct
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MAX_SECONDS, MAX_BYTES = 20, 1 << 30  # that one input may take
TOKENS = [
    b"", b"0", b"-1", b"NaN", b"1e999", b"9" * 40, b"null", b"true", b"[]", b"{}", b'""', b"\0", b"\xff\xfe",
    b"\xef\xbb\xbf", b"\x1b[2J", b"../../etc/passwd", b"/dev/zero", b"'", b'"', b"\\", b"\n", b"\r", b";",
    b",", b"\t", b"%s%n", b"=1+1",
    b"a" * 5000, b"[" * 3000, b"{" * 300, "\ud7ff\U0001f600é".encode(), b"&a [*a,*a]", b"!!python/object:os.system",
    b"<<: *a",
]  # fmt: skip
VALUES = [
    None, True, False, 0, -1, 1, 2**31, -(2**63), 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "a", "\0",
    "\x1b[2J", "../x", "/etc/passwd", "a" * 3000, "é\ud800", "1", [], {}, [[]], {"": None}, [None],
    {"a": {"a": {"a": {}}}},
]  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """A reader of files: valid ``seeds``, the suffix of its files, how they mutate, and what is to be called.

    ``kind`` is ``bytes``, ``json`` (values are replaced as well), ``png`` (checksums are set right again half of the
    time), or a function (data, random) → data. ``read`` raises one of the errors that users see, or nothing.
    """

    seeds: list[bytes]
    read: Callable[[Path], object]
    suffix: str = ".bin"
    kind: str | Callable = "bytes"


def mutate(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """A file with one to eight of its bytes, words, slices or lines changed."""
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2, 3, 8])):
        at, length = draw.randrange(len(data) + 1), draw.choice([1, 2, 4, 8, 64, 1024])
        kind = draw.randrange(11)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[at : at + length] = draw.randbytes(min(length, 64))
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            data[at:at] = data[at : at + length] * draw.choice([1, 2, 50])
        elif kind == 5:
            data[at : at + 4] = struct.pack(
                draw.choice("<>") + "I", draw.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 65536])
            )
        elif kind == 6:
            data[at : at + draw.choice([0, 1, 8])] = draw.choice(TOKENS)
        elif kind == 7 and others:
            other = draw.choice(others)
            start = draw.randrange(len(other) + 1)
            data[at : at + length] = other[start : start + length]
        elif kind == 8:
            found = [*re.finditer(rb"[-+\w.]+", bytes(data[:4096]))]
            if found:
                word = draw.choice(found)
                data[word.start() : word.end()] = draw.choice(TOKENS)
        elif kind == 9:
            lines = bytes(data).split(b"\n")
            draw.shuffle(lines) if draw.random() < 0.2 else lines.insert(draw.randrange(len(lines)), draw.choice(lines))
            data = bytearray(b"\n".join(lines))
        elif kind == 10:
            data[at : at + 1] = bytes([draw.choice([0, 255, 127, 128])])
    return bytes(data[: 1 << 20])


def mutate_value(value, draw: random.Random):
    """A JSON value in which one node, at any depth, is replaced, removed, doubled or renamed."""
    root = [copy.deepcopy(value)]
    nodes = []

    def walk(parent, key):
        nodes.append((parent, key))
        child = parent[key]
        for name in child if isinstance(child, dict) else range(len(child)) if isinstance(child, list) else ():
            walk(child, name)

    walk(root, 0)
    parent, key = draw.choice(nodes)
    kind = draw.randrange(6)
    if kind == 0 and parent is not root:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[str(draw.choice(VALUES))] = parent.pop(key)
    elif kind == 2:
        other, name = draw.choice(nodes)
        parent[key] = copy.deepcopy(other[name])
    else:
        parent[key] = draw.choice(VALUES)
    return root[0] if root else None


def mutate_json(data: bytes, draw: random.Random) -> bytes:
    value = json.loads(data)
    for _ in range(draw.choice([1, 1, 2, 4])):
        value = mutate_value(value, draw)
    return json.dumps(value, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")


def with_checksums(png: bytes) -> bytes:
    """A PNG whose chunks have the right checksums, as far as its lengths can be followed."""
    data, at = bytearray(png), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(data)


def mutant(reader: Reader, draw: random.Random) -> bytes:
    """One mutated file of a reader."""
    seed = draw.choice(reader.seeds)
    if callable(reader.kind):
        data = reader.kind(seed, draw)
        return mutate(data, draw, []) if draw.random() < 0.2 else data
    if reader.kind == "json" and draw.random() < 0.7:
        return mutate_json(seed, draw)
    data = mutate(seed, draw, reader.seeds)
    return with_checksums(data) if reader.kind == "png" and draw.random() < 0.5 else data


def fuzz(readers: dict[str, Reader], folder: Path, seed: int, *, inputs: int | None = None, seconds: float = 1e9):
    """Read mutants of all readers in turn, ``inputs`` of each or for so many seconds; returns counts and faults.

    A fault is a line; the file that made it stays in ``folder``.
    """
    counts, faults, end, block = Counter(), [], time.monotonic() + seconds, 0
    while (inputs is None or block * 50 < inputs) and time.monotonic() < end:
        for name, reader in readers.items():
            size = 50 if inputs is None else min(50, inputs - block * 50)
            faults += _block(name, reader, folder, f"{seed}/{name}/{block}", size, counts)
        block += 1
    return counts, faults


def _block(name, reader, folder, seed, size, counts):
    """Read ``size`` mutants in children; a new one is made where one ended."""
    done = 0
    while done < size:
        receiver, sender = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(receiver)
            _child(reader, folder, seed, done, size, sender)
        os.close(sender)
        lines = []
        with os.fdopen(receiver) as stream:
            lines = stream.read().splitlines()
        _, status = os.waitpid(child, 0)
        results = [json.loads(line) for line in lines]
        counts[name] += len(results)
        done += len(results)
        for result in results:
            if result["fault"]:
                yield f"{name}: {result['fault']} ({_keep(folder, name, result['path'], reader.suffix)})"
        if done < size and not (results and results[-1]["fault"]):
            ended = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {os.WEXITSTATUS(status)}"
            counts[name] += 1
            done += 1
            path = folder / f"mutant{reader.suffix}"
            yield f"{name}: ended by {ended} ({_keep(folder, name, path, reader.suffix)})"


def _keep(folder, name, path, suffix):
    kept = folder / f"fault-{name}-{time.monotonic_ns()}{suffix}"
    with suppress(OSError):
        kept.write_bytes(Path(path).read_bytes())
    return kept


def _child(reader, folder, seed, first, size, sender):
    status = 0
    try:
        sys.stdout = sys.stderr = io.StringIO()
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
        with os.fdopen(sender, "w") as stream:
            for number in range(first, size):
                path = folder / f"mutant{reader.suffix}"
                path.write_bytes(mutant(reader, random.Random(f"{seed}/{number}")))
                fault = _fault(reader, path)
                kept = path
                if fault:
                    kept = folder / f"last-fault{number}{reader.suffix}"
                    kept.write_bytes(path.read_bytes())
                stream.write(json.dumps({"fault": fault, "path": str(kept)}) + "\n")
                stream.flush()
                if fault:
                    break
    except BaseException:
        status = 99
    os._exit(status)


def _fault(reader, path) -> str:
    """How reading a file failed as it should not; empty where it gave a result or an error for users."""
    from lnclip_df.core.errors import LNCLIPError
    from lnclip_df.media.limits import UnreadableVideo

    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(MAX_SECONDS)
    fault = ""
    try:
        reader.read(path)
    except (LNCLIPError, UnreadableVideo) as error:
        if "\n" in str(error) or (isinstance(error, LNCLIPError) and not 5 < len(str(error)) <= 600):
            fault = f"a message of {len(str(error))} characters: {str(error)[:80]!r}"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)
        ours = next((step for step in reversed(where) if "lnclip_df" in step.filename), where[-1])
        fault = f"{type(error).__name__} at {Path(ours.filename).name}:{ours.lineno}: {str(error)[:100]}"
    signal.alarm(0)
    grown = _memory("VmHWM") - before
    return fault or (f"{grown >> 20} MB" if grown > MAX_BYTES else "")


def _memory(field) -> int:
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+)", status)[1]) << 10


def main():
    import tempfile

    sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
    from fuzz_readers import make_readers

    seconds, seed, *names = [*sys.argv[1:], "0"][: max(2, len(sys.argv) - 1)]
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    readers = make_readers(folder)
    readers = {name: reader for name, reader in readers.items() if not names or name in names}
    counts, faults = fuzz(readers, folder, int(seed), seconds=float(seconds))
    for name, count in counts.items():
        print(f"{count:7} {name}")
    print(f"{sum(counts.values())} inputs, {len(faults)} faults; files in {folder}")
    for fault, number in Counter(re.sub(r" \(\S*\)$", "", fault) for fault in faults).most_common():
        example = next(line for line in faults if line.startswith(fault))
        print(f"{number:4} × {example}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
