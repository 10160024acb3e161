"""No damaged file gives a traceback, an endless wait or a memory of more than 1 GB: a short run of the fuzzer.

``LNCLIP_FUZZ`` is the number of inputs per reader (4 without it), ``LNCLIP_FUZZ_SEED`` another seed.
"""

import os
import random
import signal
import sys

import pytest
from fuzz_readers import PARTS, make_readers
from fuzzing import Reader, fuzz, mutant

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by /proc")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", PARTS)
def test_no_reader_fails_otherwise_than_in_one_line(tmp_path, part):
    inputs = int(os.environ.get("LNCLIP_FUZZ", "4"))
    readers = make_readers(tmp_path, [part])
    counts, faults = fuzz(readers, tmp_path, int(os.environ.get("LNCLIP_FUZZ_SEED", "0")), inputs=inputs)
    assert faults == []
    assert set(counts) == set(readers) and set(counts.values()) == {inputs}


def crash(path):
    os.kill(os.getpid(), signal.SIGKILL)


def allocate(path):
    return len(b"x" * (1100 << 20))


def fail(path):
    raise KeyError("damaged")


@pytest.mark.parametrize(("read", "shown"), [(crash, "signal 9"), (allocate, " MB"), (fail, "KeyError at test_fuzz")])
def test_the_fuzzer_sees_each_kind_of_fault_and_keeps_its_file(tmp_path, read, shown):
    counts, faults = fuzz({"x": Reader([b"seed"], read)}, tmp_path, 0, inputs=2)
    assert counts == {"x": 2} and len(faults) == 2 and all(shown in fault for fault in faults)
    assert len(list(tmp_path.glob("fault-x-*"))) == 2


def test_a_mutant_follows_from_its_seed():
    reader = Reader([b'{"a": [1, 2]}'], fail, kind="json")
    made = [mutant(reader, random.Random(seed)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    assert len({mutant(reader, random.Random(seed)) for seed in range(200)}) > 100
