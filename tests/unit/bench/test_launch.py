"""DeepfakeBench's scripts run unchanged on a machine without a GPU, as ``python script`` would run them."""

import os
import textwrap

import pytest
import torch
from checkouts import make_checkout

from lnclip_df.bench.launch import with_local_rank
from lnclip_df.bench.run_script import bench_run
from lnclip_df.core.errors import LNCLIPError

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is left as it is")


@pytest.fixture
def checkout(tmp_path):
    return make_checkout(tmp_path / "bench")


def script(checkout, text):
    path = checkout / "training" / "train.py"
    path.write_text(textwrap.dedent(text))
    return "training/train.py"


@pytest.mark.slow
def test_arguments_path_and_folder_are_as_python_sets_them(checkout):
    (checkout / "training" / "neighbour.py").write_text("value = 5")
    name = script(
        checkout,
        """
        import os, sys, neighbour
        assert __name__ == "__main__" and neighbour.value == 5
        assert sys.argv == ["training/train.py", "--detector_path", "a b.yaml"], sys.argv
        assert sys.path[0] == os.path.join(os.getcwd(), "training"), sys.path
        assert os.path.exists("training/train.py")
        """,
    )
    assert bench_run(checkout, [name, "--detector_path", "a b.yaml"]) == 0


@pytest.mark.parametrize("status", [0, 3])
@pytest.mark.slow
def test_the_exit_status_is_the_scripts(checkout, status):
    assert bench_run(checkout, [script(checkout, f"raise SystemExit({status})")]) == status


@pytest.mark.slow
def test_a_signal_is_told_as_a_shell_would(checkout):
    assert bench_run(checkout, [script(checkout, "import os; os.kill(os.getpid(), 9)")]) == 137


@pytest.mark.slow
def test_a_users_error_is_one_line(checkout, capfd):
    name = script(checkout, "from lnclip_df.core.errors import LNCLIPError\nraise LNCLIPError('fix this')")
    assert bench_run(checkout, [name]) == 1
    assert capfd.readouterr().err.strip().splitlines()[-1] == "error: fix this"


@pytest.mark.slow
def test_a_package_that_is_not_installed_is_one_line(checkout, capfd):
    (checkout / "training" / "neighbour.py").write_text("import no_such_package.part")
    assert bench_run(checkout, [script(checkout, "import neighbour")]) == 1
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.startswith("error: no_such_package is not installed") and "docs/deepfakebench.md" in line


@without_gpu
@pytest.mark.slow
def test_cuda_calls_do_nothing(checkout):
    name = script(
        checkout,
        """
        import torch
        torch.cuda.set_device(0)
        torch.cuda.manual_seed_all(1)
        assert "3060" not in torch.cuda.get_device_name()
        tensor, module = torch.ones(2), torch.nn.Linear(2, 2)
        assert tensor.cuda() is tensor and module.cuda() is module
        assert tensor.cuda(0, non_blocking=True) is tensor
        """,
    )
    assert bench_run(checkout, [name]) == 0


@without_gpu
@pytest.mark.slow
def test_worker_processes_start(checkout):
    name = script(
        checkout,
        """
        import torch
        torch.cuda.set_device(0)

        class Data(torch.utils.data.Dataset):
            def __len__(self):
                return 4
            def __getitem__(self, index):
                return torch.tensor(index).cuda()

        if __name__ == "__main__":
            loader = torch.utils.data.DataLoader(Data(), batch_size=2, num_workers=2)
            assert sum(int(batch.sum()) for batch in loader) == 6
        """,
    )
    assert bench_run(checkout, [name]) == 0


def fake_dlib(tmp_path, monkeypatch):
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "dlib.py").write_text("def shape_predictor(path):\n    raise RuntimeError('Unable to open ' + path)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", str(folder))]))


@pytest.mark.parametrize("folder", ["preprocessing/dlib_tools/", "/home/developer/preprocess/"])
@pytest.mark.slow
def test_the_absent_predictor_fails_only_when_called(checkout, tmp_path, monkeypatch, capfd, folder):
    fake_dlib(tmp_path, monkeypatch)
    name = script(
        checkout,
        f"""
        import dlib
        predictor = dlib.shape_predictor("{folder}shape_predictor_81_face_landmarks.dat")
        try:
            dlib.shape_predictor("another.dat")
        except RuntimeError:
            predictor("image", "face")
        """,
    )
    assert bench_run(checkout, [name]) == 1
    assert "81-point predictor" in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_the_checkouts_predictor_is_loaded_by_the_path_of_mid_2024(checkout, tmp_path, monkeypatch, capfd):
    fake_dlib(tmp_path, monkeypatch)
    path = checkout / "preprocessing/dlib_tools/shape_predictor_81_face_landmarks.dat"
    path.parent.mkdir(parents=True)
    path.touch()
    theirs = "../preprocessing/dlib_tools/shape_predictor_81_face_landmarks.dat"
    name = script(checkout, f'import dlib\ndlib.shape_predictor("{theirs}")\n')
    assert bench_run(checkout, [name]) == 1
    assert "Unable to open preprocessing/dlib_tools/" in capfd.readouterr().err.splitlines()[-1]


@without_gpu
@pytest.mark.slow
def test_two_processes_share_gradients_over_gloo(checkout, monkeypatch):
    name = script(
        checkout,
        """
        import argparse, os, subprocess, sys
        if "RANK" not in os.environ:
            command = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
            command += ["-m", "lnclip_df.bench.launch", sys.argv[0], "--ddp"]
            raise SystemExit(subprocess.run([sys.executable, *command]).returncode)

        import torch
        import torch.distributed as dist
        from torch.nn.parallel import DistributedDataParallel as DDP

        parser = argparse.ArgumentParser()
        parser.add_argument("--ddp", action="store_true")
        parser.add_argument("--local_rank", type=int, default=-1)
        options = parser.parse_args()
        dist.init_process_group(backend="nccl")
        assert options.local_rank == dist.get_rank()
        model = DDP(torch.nn.Linear(1, 1), device_ids=[options.local_rank], output_device=options.local_rank)
        assert type(model) is DDP
        model(torch.full((1, 1), float(dist.get_rank()))).sum().backward()
        assert model.module.weight.grad.item() == 0.5
        dist.barrier()
        os._exit(0)  # gloo's threads sometimes abort a process that ends by itself
        """,
    )
    assert bench_run(checkout, [name]) == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--ddp"], ["--ddp", "--local_rank", "1"]),
        (["--ddp", "--local_rank", "0"], ["--ddp", "--local_rank", "0"]),
        (["--ddp", "--local_rank=0"], ["--ddp", "--local_rank=0"]),
        ([], []),
    ],
)
def test_local_rank_comes_from_torchrun(monkeypatch, arguments, expected):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert with_local_rank(arguments) == expected


@pytest.mark.parametrize(
    ("argv", "message"),
    [([], "no script"), (["training/absent.py"], "no script training/absent"), (["../train.py"], "leaves its folder")],
)
def test_a_wrong_script_is_refused(checkout, argv, message):
    with pytest.raises(LNCLIPError, match=message):
        bench_run(checkout, argv)


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(LNCLIPError, match="not a DeepfakeBench checkout"):
        bench_run(tmp_path, ["training/train.py"])
