"""Run and rehearse DeepfakeBench's scripts in many checkouts of one version, in forks of one process that imports it.

``python host_runs.py JOBS``: a JSON list of ``[root, script, arguments, rehearse]``; prints one of why each stops.
"""

import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile


def host_runs(jobs, environment):
    """Why each job stops, None if it does not; jobs as above, environment variables as a dict."""
    command = [sys.executable, "-B", __file__, json.dumps(jobs)]
    child = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return json.loads(child.stdout.splitlines()[-1])


def _in_fork(root, script, arguments, rehearse):
    with tempfile.TemporaryFile("w+") as log, tempfile.TemporaryFile("w+") as answer:
        child = os.fork()
        if child == 0:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            os.chdir(root)
            sys.path[0] = os.path.join(root, "training")
            status = 0
            try:
                json.dump(_rehearsed(script, arguments) if rehearse else _run(script, arguments), answer)
            except BaseException as error:
                status = 1
                json.dump(f"{type(error).__name__}: {error}", answer)
            answer.flush()
            os._exit(status)
        os.waitpid(child, 0)
        answer.seek(0)
        return json.loads(answer.read() or '"killed"')


def _rehearsed(script, arguments):
    from lnclip_df.bench.rehearsal import rehearse

    return rehearse(script, arguments[1])


def _run(script, arguments):
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    import torch

    from lnclip_df.bench import launch

    torch.set_num_threads(1)
    todo = json.loads(sys.argv[1])
    os.chdir(todo[0][0])
    launch.prepare()
    sys.path[0] = os.path.abspath("training")
    for name in ("dataset", "detectors", "trainer.trainer"):
        importlib.import_module(name)
    found = [_in_fork(*job) for job in todo]
    sys.stdout.write(f"\n{json.dumps(found)}\n")
