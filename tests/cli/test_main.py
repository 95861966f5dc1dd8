from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.engine import Engine
from tests.conftest import strongest

ROOT = Path(__file__).parents[2]
Result = tuple[int, str, str]


@pytest.fixture
def docker(tmp_path: Path, runtime: Path) -> Callable[..., Result]:
    """Gives a function that types one docker command in a terminal."""
    env = {**os.environ, "DOCKERLAB_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT)}
    Engine(tmp_path / "home").first_time("network")

    def call(*words: str, stdin: str = "") -> Result:
        done = subprocess.run([sys.executable, "-m", "dockerlab.cli", *words], input=stdin, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=60, check=False)
        if "lets nobody start a container" in done.stderr:
            pytest.skip(done.stderr)
        return done.returncode, done.stdout, done.stderr

    return call


def test_the_first_page_of_the_course(docker: Callable[..., Result]) -> None:
    assert docker("run", "--name", "hw_container", "busybox:latest", "touch", "/HelloWorld") == (0, "", "")
    code, out, _ = docker("commit", "hw_container", "hw_image")
    assert code == 0 and out.startswith("sha256:") and len(out) == 72
    assert docker("rm", "-vf", "hw_container") == (0, "hw_container\n", "")
    code, out, _ = docker("run", "--rm", "hw_image", "ls", "-l", "/HelloWorld")
    assert code == 0 and out.startswith("-rw-r--r--    1 root     root             0 ")


def test_the_first_run_says_whose_network_it_has(docker: Callable[..., Result], tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "home" / "told", ignore_errors=True)
    words = "note: this host gives containers no network of their own: they share this machine's, and a port that is published leads to the same port of this machine\n"
    note = "" if strongest() not in ("chroot", "proot") else words
    assert docker("run", "--rm", "--net", "host", "busybox", "true") == (0, "", "")
    assert docker("run", "--rm", "busybox", "true") == (0, "", note)
    assert docker("run", "--rm", "busybox", "true") == (0, "", "")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "--rm", "busybox", "sh", "-c", "exit 9"], 9, ""),
        (["run", "--rm", "busybox", "/no/such"], 127, "stat /no/such: no such file or directory"),
        (["run", "--rm", "busybox", "/etc"], 126, "permission denied"),
        (["run", "nosuch"], 125, "Unable to find image 'nosuch:latest' locally"),
        (["run", "--badflag", "busybox"], 125, "unknown flag: --badflag"),
        (["run", "--mac-address", "x", "busybox"], 125, "--mac-address of 'docker run' is not supported here"),
        (["run", "-p", "x:80", "busybox"], 125, "invalid hostPort: x"),
        (["tag", "-f", "a", "b"], 125, "unknown shorthand flag: 'f' in -f"),
        (["tag", "a", "Upper/Case"], 1, "repository name (Case) must be lowercase"),
        (["rmi", "nosuch"], 1, "Error response from daemon: No such image: nosuch:latest"),
        (["nosuchverb"], 1, "docker: unknown command: docker nosuchverb"),
        (["run"], 1, "docker: 'docker run' requires at least 1 argument"),
        (["rm", "nosuch"], 1, "No such container: nosuch"),
        (["diff", "nosuch"], 1, "No such container: nosuch"),
        (["build", "nosuchdir"], 1, 'unable to prepare context: path "nosuchdir" not found'),
    ],
)
def test_exit_codes_and_words(docker: Callable[..., Result], words: list[str], code: int, said: str) -> None:
    got, _, err = docker(*words)
    assert got == code and said in err


def test_input_and_binary_output(docker: Callable[..., Result], tmp_path: Path) -> None:
    assert docker("run", "-i", "--rm", "busybox", "wc", "-c", stdin="x" * 100_000) == (0, "100000\n", "")
    docker("create", "--name", "box", "busybox")
    assert docker("export", "-o", "out.tar", "box")[0] == 0
    code, out, _ = docker("import", "out.tar", "flat")
    assert code == 0 and docker("run", "--rm", "flat", "echo", "hi")[1] == "hi\n" and out.startswith("sha256:")
    (tmp_path / "bad.tar").write_bytes(b"not a tar" * 100)
    code, _, err = docker("import", "bad.tar", "bad")
    assert code == 1 and "not a tar archive" in err


def test_explain_names_every_kernel_call(docker: Callable[..., Result]) -> None:
    code, _, err = docker("run", "--rm", "--explain", "busybox", "true")
    assert code == 0 and ('pivot_root(".", ".")' in err or "landlock_restrict_self(" in err) and "init.py:" in err and docker("ps", "-aq")[1] == ""


def test_detached_containers_outlive_the_command(docker: Callable[..., Result]) -> None:
    assert docker("run", "-d", "--name", "web", "busybox", "sh", "-c", "echo up; sleep 60")[0] == 0
    time.sleep(0.3)
    assert docker("logs", "web")[1] == "up\n" and docker("ps", "--format", "{{.Names}} {{.State}}")[1] == "web running\n"
    code, _, err = docker("rm", "web")
    assert code == 1 and "You cannot remove a running container" in err
    assert docker("rm", "-f", "web")[0] == 0 and docker("system", "check") == (0, "the store is sound\n", "")


def test_untrusted_text_is_shown_escaped(docker: Callable[..., Result]) -> None:
    docker("run", "--name", "evil", "busybox", "sh", "-c", "touch \"$(printf '/\\033[31mred\\342\\200\\256')\" '/<b>'")
    out = docker("diff", "evil")[1]
    assert "\x1b" not in out and "\u202e" not in out and "A /<b>" in out and r"\x1b[31mred" in out


def test_the_store_is_an_oci_layout(docker: Callable[..., Result], tmp_path: Path) -> None:
    docker("run", "--rm", "busybox", "true")
    assert (tmp_path / "home" / "oci-layout").read_text() == '{"imageLayoutVersion":"1.0.0"}'
    blob = next((tmp_path / "home" / "blobs" / "sha256").iterdir())
    blob.chmod(0o600)
    blob.write_bytes(b"damaged")
    code, out, err = docker("system", "check")
    assert code == 1 and ("damaged" in out + err or "cannot be read" in out + err)


@pytest.mark.parametrize("words", ["ps", "ps <&-", "run --rm busybox echo hi", "run --rm -i busybox cat <&-", "nosuch 2>&-"])
def test_a_closed_descriptor_is_none_of_ours(docker: Callable[..., Result], tmp_path: Path, runtime: Path, words: str) -> None:
    env = {**os.environ, "DOCKERLAB_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT)}
    docker("images")
    done = subprocess.run(["sh", "-c", f"exec {sys.executable} -m dockerlab.cli {words} >&-"], env=env, stderr=subprocess.PIPE, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (int("nosuch" in words), "") or "lets nobody" in done.stderr


def test_words_that_are_not_utf_8(docker: Callable[..., Result]) -> None:
    for words in (["echo", "\udcff"], ["env"]):
        code, out, err = docker("run", "--rm", *(["-e", "A=\udcff"] if words == ["env"] else []), "busybox", *words)
        assert (code, out) == (125, "") and "not UTF-8" in err and "Traceback" not in err


def test_logs_gives_bytes_as_they_came(docker: Callable[..., Result], tmp_path: Path, runtime: Path) -> None:
    env = {**os.environ, "DOCKERLAB_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
    assert docker("run", "-d", "--name", "b1", "busybox", "sh", "-c", r"printf '\377\r\n\200x'")[0] == 0
    time.sleep(1)
    done = subprocess.run([sys.executable, "-m", "dockerlab.cli", "logs", "b1"], env=env, capture_output=True, timeout=20, check=False)
    assert done.stdout == b"\xff\r\n\x80x"


def test_a_full_output_and_odd_words_are_said(docker: Callable[..., Result], tmp_path: Path, runtime: Path) -> None:
    docker("run", "--name", "one", "busybox", "true")
    env = {**os.environ, "DOCKERLAB_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT)}
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "dockerlab.cli", "ps", "-a"], env=env, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode and "cannot write standard output: no space left on device" in done.stderr and "Traceback" not in done.stderr
    code, _, err = docker("run", "--rm", "-w", "/a" * 1500, "busybox", "true")
    assert code in (0, 125, 126) and "RecursionError" not in err  # PRoot goes as deep as paths can be long
    for text, said in (("COPY --chown=99999999999999 Dockerfile /f", "out of range"), ('VOLUME [""]', "can not be an empty string")):
        (tmp_path / "Dockerfile").write_text(f"FROM busybox\n{text}\n")
        code, out, err = docker("build", ".")
        assert code == 1 and said in out + err and "Traceback" not in err


def test_letters_that_come_in_pieces_stay_whole(docker: Callable[..., Result]) -> None:
    script = r"printf '\303'; sleep 0.2; printf '\251\n'; printf '\303' >&2; sleep 0.2; printf '\251\n' >&2"
    docker("run", "--name", "bits", "busybox", "sh", "-c", script)
    assert docker("logs", "bits") == (0, "é\n", "é\n")
