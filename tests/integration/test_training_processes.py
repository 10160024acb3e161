"""A training in two processes, which talk over gloo."""

import os
import socket
import subprocess
import sys

import pytest
from tiny import make_toy, write_dataset

TRAIN = """
import hashlib, os, sys
import torch
from lnclip_df.training.module import LNCLIPModule
from tiny import train_toy

def on_train_start(self):
    replayed = sorted(video.key for video in self.train_frames.videos if video.dataset == "old")
    items = hashlib.sha256(repr(self.train_frames.items).encode()).hexdigest()
    os.write(1, f"{self.seed} {replayed} {items}\\n".encode())  # at once: the two lines must not mix

LNCLIPModule.on_train_start = on_train_start
torch.set_num_threads(1)
child = os.fork()
os.environ["RANK"] = os.environ["LOCAL_RANK"] = "0" if child else "1"
settings = ["manualSeed=null", "nEpochs=0", "lnclip.replay={datasets: [old], share: 0.3}", "lnclip.train_frames=random"]
train_toy(sys.argv[1], sys.argv[2], "frame_num.train=1", *settings, devices=2, strategy="ddp")
sys.stdout.flush()
failed = bool(child) and os.waitpid(child, 0)[1] != 0
os._exit(failed)  # gloo's threads sometimes abort a process that ends by itself
"""


@pytest.mark.slow
def test_without_a_seed_both_processes_replay_the_same_videos(tmp_path):
    root = make_toy(tmp_path)
    videos = {str(n): {"label": "demo_real", "frames": [f"./frames/demo_real/{n}/000.png"]} for n in range(18, 24)}
    write_dataset(root, "old", {"demo_real": {"train": videos, "val": {}, "test": {}}})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    torchrun = {"GROUP_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test"}
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-c", TRAIN, str(root), str(root / "run")]
    run = subprocess.run(command, env=env | torchrun, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    first, second = run.stdout.splitlines()
    assert first == second and first.count("old/demo_real/") == 2
