"""Cells in a real kernel: output, errors, interrupts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

jupyter_client = pytest.importorskip("jupyter_client")
ROOT = Path(__file__).parents[2]
Reply = tuple[str, list[dict[str, Any]]]


class Kernel:
    """One kernel with the extension loaded."""

    def __init__(self, manager: Any, client: Any) -> None:
        self.manager, self.client = manager, client

    def run(self, source: str, *, interrupt_after: float = 0) -> Reply:
        """Gives a cell's status and outputs."""
        ident = self.client.execute(source)
        outputs: list[dict[str, Any]] = []
        begun, interrupted = time.monotonic(), False
        while True:
            if interrupt_after and not interrupted and time.monotonic() - begun > interrupt_after:
                self.manager.interrupt_kernel()
                interrupted = True
            try:
                message = self.client.get_iopub_msg(timeout=0.2)
            except Exception:
                assert time.monotonic() - begun < 40
                continue
            if message["parent_header"].get("msg_id") != ident:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
            if message["msg_type"] in ("stream", "error", "execute_result", "display_data", "update_display_data"):
                outputs.append({"type": message["msg_type"], **message["content"]})
        return self.answer(ident, timeout=10)["status"], outputs

    def answer(self, ident: str, *, timeout: float) -> dict[str, Any]:
        """Gives what a kernel replies to a question, `timeout` seconds at most from one reply to the next."""
        while (reply := self.client.get_shell_msg(timeout=timeout))["parent_header"].get("msg_id") != ident:
            pass  # a slow start was asked more than once whether it is there, and answers each
        content: dict[str, Any] = reply["content"]
        return content


def text(outputs: list[dict[str, Any]]) -> str:
    return "".join(o.get("text", "") for o in outputs if o["type"] == "stream")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    home = tmp_path_factory.mktemp("kernel")
    env = {**os.environ, "DOCKERLAB_HOME": str(home / "home"), "PYTHONPATH": str(ROOT)}
    manager, client = jupyter_client.manager.start_new_kernel(kernel_name="python3", env=env, cwd=str(home))
    made = Kernel(manager, client)
    status, outputs = made.run("%load_ext dockerlab\nfrom dockerlab.engine.current import current\ncurrent().capabilities")
    if status != "ok":
        manager.shutdown_kernel(now=True)
        pytest.skip(f"no engine here: {outputs}")
    yield made
    made.run("import shutil\ncurrent().world.stop()\nshutil.rmtree(current().settings.runtime, ignore_errors=True)")
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_output_streams_and_a_failing_command_is_a_failing_cell(kernel: Kernel) -> None:
    status, outputs = kernel.run("%%docker\ndocker run --rm busybox echo one\ndocker run --rm busybox sh -c 'exit 3'\ndocker run --rm busybox echo never")
    assert status == "error" and text(outputs) == "one\n"
    error = next(o for o in outputs if o["type"] == "error")
    assert error["ename"] == "ShellFailed" and "exit code 3" in error["evalue"] and len(error["traceback"]) < 4


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("%container run nosuch", "Unable to find image 'nosuch:latest' locally"),
        ("%container run --nope busybox", "unknown flag: --nope"),
        ("%%dockerfile -t x\nFROM busybox\nFOO", "unknown instruction: FOO"),
        ("%container nosuchverb", "unknown command"),
        ("%container run 'open", "No closing quotation"),
    ],
)
def test_errors_are_short_and_name_the_thing(kernel: Kernel, source: str, words: str) -> None:
    status, outputs = kernel.run(source)
    error = next(o for o in outputs if o["type"] == "error")
    assert status == "error" and words in "\n".join(error["traceback"]) and "Traceback" not in "\n".join(error["traceback"])


def test_dollars_and_braces_reach_the_program_as_typed(kernel: Kernel) -> None:
    _, outputs = kernel.run("x = 'python'\n")
    _, outputs = kernel.run("%container run --rm -e x=inner busybox sh -c 'echo $x {x} {{.Id}}'")
    assert text(outputs) == "inner {x} {{.Id}}\n"


def test_a_cells_body_is_the_programs_input(kernel: Kernel) -> None:
    _, outputs = kernel.run("%%container run --rm busybox wc -l\none\ntwo\n")
    assert text(outputs).strip() == "2"
    _, outputs = kernel.run("%%docker\ndocker run -it --name typed busybox sh\ntouch /x\necho $HOSTNAME | wc -c\nexit\ndocker diff typed\ndocker rm typed")
    assert text(outputs) == "13\nA /x\ntyped\n"


def test_a_dockerfile_cell_gives_the_image_and_takes_python_variables(kernel: Kernel) -> None:
    status, outputs = kernel.run("word = 'from python'\n")
    status, outputs = kernel.run("%%dockerfile -t hello -i word\nFROM busybox\nARG word\nRUN echo $word > /w\nCMD [\"cat\", \"/w\"]\n")
    assert status == "ok" and "Successfully tagged hello:latest" in text(outputs)
    assert next(o for o in outputs if o["type"] == "execute_result")["data"]["text/plain"].startswith("<Image hello:latest")
    assert text(kernel.run("%container run --rm hello")[1]) == "from python\n"


def test_the_shell_knows_docker_as_our_engine_and_remembers(kernel: Kernel) -> None:
    _, outputs = kernel.run("%%docker\nmkdir -p deep && cd deep\nN=2\nfor i in 1 $N; do docker run --rm busybox echo $i; done | sort -r")
    assert text(outputs) == "2\n1\n"
    assert text(kernel.run("%%docker\nbasename $(pwd); echo $N")[1]) == "deep\n2\n"


def test_results_show_themselves_as_text_and_html(kernel: Kernel) -> None:
    _, outputs = kernel.run("%container images")
    data = next(o for o in outputs if o["type"] == "execute_result")["data"]
    assert data["text/plain"].startswith("REPOSITORY") and "<table" in data["text/html"] and "<script" not in data["text/html"]


def test_an_interrupt_stops_the_container_and_leaves_nothing(kernel: Kernel) -> None:
    begun = time.monotonic()
    status, outputs = kernel.run("%container run --rm --name stuck busybox sleep 60", interrupt_after=1.0)
    assert status == "error" and time.monotonic() - begun < 3.5
    assert next(o for o in outputs if o["type"] == "error")["ename"] == "Interrupted"
    assert "stuck" not in text(kernel.run("%%docker\ndocker ps -a --format '{{.Names}}'")[1])


def test_a_cell_may_run_twice(kernel: Kernel) -> None:
    source = "%container run --replace --name again busybox true"
    assert [kernel.run(source)[0] for _ in range(2)] == ["ok", "ok"]
    _, outputs = kernel.run("%container run --name again busybox true")
    assert "--replace" in next(o for o in outputs if o["type"] == "error")["traceback"][-1]


def test_the_extension_can_be_taken_back(kernel: Kernel) -> None:
    status, _ = kernel.run("%unload_ext dockerlab\nassert 'container' not in get_ipython().magics_manager.magics['line']\n%load_ext dockerlab")
    assert status == "ok"
    assert kernel.run("%container version")[0] == "ok"




def test_what_an_exit_code_is_about_is_shown(kernel: Kernel) -> None:
    kernel.run("%%docker\nprintf 'FROM busybox:1\\nMAINTAINER me\\n' > Sloppy")
    for cell in ("%container build --check -f Sloppy .", "%%docker\ndocker build --check -f Sloppy ."):
        status, outputs = kernel.run(cell)
        shown = text(outputs) + "".join(o["data"]["text/plain"] for o in outputs if o["type"] == "display_data")
        assert status == "error" and "WARNING: MaintainerDeprecated" in shown and outputs[-1]["ename"] == "ShellFailed"


def traces(outputs: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Gives the kind of message and the page of each view of a build."""
    return [(o["type"], page) for o in outputs if "details" in (page := o.get("data", {}).get("text/html", ""))]


@pytest.mark.parametrize("cell", ["%%dockerfile -t traced\nFROM busybox\nRUN touch /x\n", "%container build -t traced -f Traced .", "%%docker\ndocker build -t traced -f Traced ."])
def test_a_build_shows_its_trace(kernel: Kernel, cell: str) -> None:
    kernel.run("%%docker\nprintf 'FROM busybox\\nRUN touch /x\\n' > Traced")
    _, outputs = kernel.run(cell)
    [(kind, page)] = traces(outputs)
    assert kind == "display_data" and "Image <b>traced:latest " in page and "2 steps: 1 " in page and "<code>RUN touch /x</code>" in page and "<details>" in page
    results = [o["data"] for o in outputs if o["type"] == "execute_result"]
    assert all(result["text/plain"].startswith("<Image traced:latest ") and "text/html" not in result for result in results)
    assert len(results) == cell.startswith("%%dockerfile")


def test_a_build_that_fails_shows_where(kernel: Kernel) -> None:
    status, outputs = kernel.run("%%dockerfile\nFROM busybox\nRUN exit 3\n")
    [(_, page)] = traces(outputs)
    assert status == "error" and "<details open>" in page and "✕ failed" in page


def test_a_trace_is_drawn_while_somebody_looks_on(kernel: Kernel) -> None:
    kernel.run("import os; os.environ['JPY_SESSION_NAME'] = 'seen.ipynb'")
    try:
        _, outputs = kernel.run("%%dockerfile -t seen\nFROM busybox\nRUN sleep 0.4\nRUN sleep 0.3\n")
    finally:
        kernel.run("del os.environ['JPY_SESSION_NAME']")
    (first, shown), *later, (last, page) = traces(outputs)
    assert first == "display_data" and "<details open>" in shown and {kind for kind, _ in later} | {last} == {"update_display_data"}
    assert any("… running" in page for _, page in later) and "… running" not in page and "Image <b>seen:latest " in page and "<details>" in page
    assert outputs.index(next(o for o in outputs if "data" in o)) < outputs.index(next(o for o in outputs if o["type"] == "stream")), "above what the build says"
