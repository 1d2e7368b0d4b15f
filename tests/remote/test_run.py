import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import edgellm
from edgellm.errors import RemoteError
from edgellm.remote import deploy, ssh
from edgellm.remote.run import Hold

ENDLESS = ("--quick", "--repetitions", "100000", "--prompt-tokens", "9", "--output-tokens", "9")
SHORT = ("--quick", "--repetitions", "2", "--prompt-tokens", "9", "--output-tokens", "3")


def until(met, seconds: float = 30) -> bool:
    """Wait until something is met; return whether it was."""
    end = time.monotonic() + seconds
    while not met():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def there(connection):
    with deploy.visit(connection) as made:
        yield made


@pytest.fixture
def path(there, bundle):
    """Give the path of the tiny bundle on the board."""
    local = deploy.read_bundle(bundle)
    there.board.send(local.blobs)
    there.board.assemble("tiny", {blob.name: blob.sha256 for blob in local.blobs})
    return f"{there.facts.home}/bundles/tiny"


def benching(machine) -> list[int]:
    """Return the processes that bench on the board."""
    return [pid for pid in machine.running() if b"board execute" in machine.command(pid)]


def meanwhile(machine, act) -> threading.Thread:
    """Act as soon as a bench runs on the board."""
    thread = threading.Thread(target=lambda: until(lambda: benching(machine)) and act())
    thread.start()
    return thread


def test_the_exit_status_and_the_last_words_come_back(there):
    options = deploy.shipped("selftest", "/nowhere")
    done = there.agent.run("selftest", options)
    assert done.status == 2
    assert done.sentence.startswith("/nowhere does not exist")


def test_a_bench_there_gives_a_report_here(there, path):
    report = deploy.bench(there, deploy.shipped("bench", path, SHORT), print)
    assert report.bundle.name == "tiny"
    assert report.workload.repetitions == 2


def test_a_runner_that_is_killed_in_mid_bench_is_explained(there, path, machine):
    thread = meanwhile(machine, lambda: machine.kill(benching(machine)))
    with pytest.raises(edgellm.errors.EdgellmError, match="ended by SIGKILL: the memory may be"):
        deploy.bench(there, deploy.shipped("bench", path, ENDLESS), print)
    thread.join()


@pytest.mark.slow
def test_a_supervisor_that_is_killed_takes_the_runner_with_it(there, path, machine):
    def kill():
        time.sleep(1)  # the runner tells the kernel so as it starts
        machine.kill([p for p in machine.running() if b"board supervise" in machine.command(p)])

    running = []
    thread = meanwhile(machine, lambda: (running.extend(benching(machine)), kill()))
    with pytest.raises(RemoteError, match="was killed"):
        deploy.bench(there, deploy.shipped("bench", path, ENDLESS), print)
    thread.join()
    assert until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in running))


def test_a_reboot_in_mid_bench_is_explained(there, path, machine):
    thread = meanwhile(machine, machine.off)
    with pytest.raises(RemoteError, match="while bench ran there; the board ends it by itself"):
        deploy.bench(there, deploy.shipped("bench", path, ENDLESS), print)
    thread.join()


@pytest.mark.slow
def test_a_lost_connection_leaves_nothing_running_though_it_hears_nothing(there, path, machine):
    running = []

    def lose():
        running.extend(benching(machine))
        for pid in running:
            os.kill(pid, signal.SIGSTOP)  # else its next word would find nobody, and end it
        machine.cut()

    thread = meanwhile(machine, lose)
    with pytest.raises(RemoteError, match="the connection was lost"):
        deploy.bench(there, deploy.shipped("bench", path, ENDLESS), print)
    thread.join()
    assert running
    assert until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in running))


def test_who_uses_the_board_is_named_and_the_second_is_refused(there, machine):
    with (
        Hold(there.agent, "edgellm bench", wait=False),
        ssh.Connection(machine.host, print) as other,
        deploy.visit(other) as second,
        pytest.raises(RemoteError, match=r"in use by .*@.* \(edgellm bench\), for .*--wait"),
        Hold(second.agent, "edgellm deploy", wait=False),
    ):
        pass


def test_who_waits_gets_the_board_when_it_is_free(there, machine):
    told: list[str] = []
    with (
        ssh.Connection(machine.host, told.append) as other,
        deploy.visit(other) as second,
    ):
        first = Hold(there.agent, "edgellm bench", wait=False)
        first.__enter__()
        thread = threading.Thread(target=lambda: until(lambda: told) and first.__exit__())
        thread.start()
        with Hold(second.agent, "edgellm deploy", wait=True):
            assert "(edgellm bench)" in told[0]
        thread.join()


def test_a_reboot_frees_the_board_and_the_lock_is_taken_again(there, machine):
    with Hold(there.agent, "edgellm bench", wait=False) as hold:
        machine.off()
        machine.lock.write_text("")
        machine.on()
        assert until(lambda: hold.ensure() or "edgellm bench" in machine.lock.read_text())
    assert until(lambda: machine.lock.read_text() == "")


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_leaves_no_process_on_the_board(machine, bundle, tmp_path, number):
    (tmp_path / "edgellm").mkdir()
    entry = machine.host.entry
    (tmp_path / "edgellm/hosts.toml").write_text(
        f"[pi]\naddress = '{machine.host.name}'\nconfig = '{entry.config}'\n"
        f"python = '{entry.python}'\nhome = '{entry.home}'\n"
    )
    source = str(Path(edgellm.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "edgellm", "bench", str(bundle), "--on", "pi", *ENDLESS],
        env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "PYTHONPATH": source},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert until(lambda: benching(machine))
    time.sleep(1)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert until(lambda: machine.running() == [])
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert said.splitlines()[-1] == "edgellm: interrupted; nothing was left half-written"
