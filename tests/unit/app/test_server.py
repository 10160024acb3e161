"""The page is served without a network, whatever the shell says about one."""

import os
import signal
import subprocess
import sys

import pytest
from commands import own_process
from released import saved_weights

pytest.importorskip("gradio")

CLIENTS = {
    "all_proxy": "socks5h://127.0.0.1:9",
    "no_proxy": "localhost,127.0.0.0/8,::1,fe80::/10",
    "SSL_CERT_FILE": "/nonexistent.pem",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_proxy_and_certificate_variables_do_not_stop_the_page_and_signals_do(tmp_path, name):
    command = own_process("app", "--weights", saved_weights(tmp_path), "--port", "0")
    environment = os.environ | CLIENTS | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        lines = []
        for line in server.stderr:
            lines.append(line)
            if "http://127.0.0.1:" in line:
                break
        server.send_signal(getattr(signal, name))
        try:
            assert server.wait(timeout=60) == 128 + getattr(signal, name), lines
        finally:
            server.kill()  # else a server that goes on is waited for without end
        assert f"ended by {name}: uploads are deleted" in server.stderr.read()
    assert "http://127.0.0.1:" in lines[-1]
