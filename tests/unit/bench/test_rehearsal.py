"""The rehearsal of a script runs its own code on a few items, writes nothing, and tells why it stops.

The host here is a small one of the same structure; the integration tests rehearse DeepfakeBench itself.
"""

import re
import sys
import textwrap

import pytest

from lnclip_df.bench.rehearsal import rehearse

TRAINER = """
import os

class Trainer:
    def __init__(self, config, model):
        self.config, self.model, self.log_dir = config, model, "logs"
        os.makedirs(self.log_dir)

    def train_epoch(self, epoch, train_data_loader, test_data_loaders=None):
        test_step = len(train_data_loader) // (2 if epoch else 1)
        self.get_writer("train").add_scalar("loss", 0.0)
        for step, batch in enumerate(train_data_loader):
            self.model.seen.append(batch["label"].tolist())
            if self.config["SWA"]:
                self.swa_model.update(self.model)
            if (step + 1) % test_step == 0:
                for loader in test_data_loaders.values():
                    losses, probs, labels, feats = self.test_one_dataset(loader)
                    metrics(probs, labels, loader.dataset.label_list)
                    self.save_ckpt(self.log_dir)

    def test_one_dataset(self, loader):
        for batch in loader:
            self.model.seen.append(batch["label"].tolist())
        return {}, None, None, None

    def save_ckpt(self, folder):
        open(os.path.join(folder, "ckpt_best.pth"), "w").close()

def metrics(probs, labels, names):
    assert len(probs) == len(labels) == len(names), "shapes differ"
    assert 0 < sum(labels) < len(labels), "nan"
"""
SCRIPT = """
import os, sys
from torch.utils.data import DataLoader
from host_trainer import Trainer
from host_facts import Items, config, model

def main():
    assert sys.argv[1:3] == ["--detector_path", "lnclip.yaml"]
    os.makedirs("logs")
    create_logger("logs/training.log")
    def loader(labels, drop_last=False):
        data = Items(labels)
        return DataLoader(data, batch_size=4, collate_fn=data.collate_fn, drop_last=drop_last)
    tests = {"A": loader(config["test_labels"], config["drop_last"])}
    trainer = Trainer(config, model)
    for epoch in range(3):
        trainer.train_epoch(epoch, loader([0, 1] * config["pairs"]), tests)
"""
FACTS = """
from types import SimpleNamespace
import torch

class Items:
    config = {"test_dataset": "A"}
    def __init__(self, labels):
        self.label_list = labels
    def __len__(self):
        return len(self.label_list)
    def __getitem__(self, index):
        if config["broken"]:
            print(f"Error loading image at index {index}: no bytes")
            return self[0]
        return self.label_list[index]
    @staticmethod
    def collate_fn(labels):
        return {"label": torch.tensor(labels)}

model = SimpleNamespace(seen=[])
config = {"SWA": False, "drop_last": False, "broken": False, "pairs": 8, "nEpochs": 2, "test_labels": [0, 1, 0, 1]}
"""


@pytest.fixture
def host(tmp_path, monkeypatch):
    """Its facts; the working folder is its root."""
    modules = tmp_path / "modules"
    root = tmp_path / "root"
    for path, text in {
        modules / "host_trainer.py": TRAINER,
        modules / "host_facts.py": FACTS,
        root / "training" / "train.py": SCRIPT,
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    monkeypatch.chdir(root)
    monkeypatch.syspath_prepend(modules)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import host_facts

    yield host_facts
    for name in ("host_trainer", "host_facts"):
        sys.modules.pop(name, None)


def run():
    return rehearse("training/train.py", "lnclip.yaml")


def test_two_items_of_each_set_pass_and_nothing_is_written(host, tmp_path):
    assert run() is None
    assert host.model.seen == [[0, 1]] * 4  # two steps of the last epoch, and a test after each
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"host_trainer.py", "host_facts.py", "train.py"}
    assert not (tmp_path / "root" / "logs").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": 2}, "ZeroDivisionError: .*by zero"),
        ({"SWA": True}, "SWA: true needs a model that train.py does not build"),
        ({"broken": True}, "cannot be read.*no bytes"),
        ({"test_labels": [1, 1, 1]}, "all frames of A are fake"),
        ({"test_labels": [0, 0]}, "all frames of A are real"),
        ({"drop_last": True, "test_labels": [0, 1, 0, 1, 0]}, "leaves out the last 1 frames of A"),
        ({"test_labels": None}, r"TypeError: .* \(training/train\.py:\d+\)"),
    ],
)
def test_why_it_stops_is_told(host, change, message):
    host.config.update(change)
    reason = run()
    assert re.search(message, reason) and "\n" not in reason


def test_whole_batches_are_enough_where_the_last_is_dropped(host):
    host.config.update(drop_last=True, test_labels=[0, 1] * 4)
    assert run() is None


def test_a_script_that_cannot_start_names_the_place(host, tmp_path):
    path = tmp_path / "root" / "training" / "train.py"
    path.write_text("import no_such_module\n" + path.read_text())
    assert run() == "ModuleNotFoundError: No module named 'no_such_module' (training/train.py:1)"
