from __future__ import annotations

from pathlib import Path

import pytest

from dockerlab.magics.completion import candidates
from dockerlab.magics.transcript import Shell, ShellFailed, parts


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("docker ps", [("docker", ("ps",))]),
        ("# a comment\n\ndocker ps -a\n", [("docker", ("ps", "-a"))]),
        ("docker run busybox \\ # the image\n  echo hi", [("docker", ("run", "busybox", "echo", "hi"))]),
        ("docker run busybox sh -c 'echo $HOME > /x'", [("docker", ("run", "busybox", "sh", "-c", "echo $HOME > /x"))]),
        ("docker ps | wc -l", [("sh", ())]),
        ('docker run busybox echo "$HOME"', [("sh", ())]),
        ("for i in 1 2; do\n  docker run busybox echo $i\ndone\necho end", [("sh", ()), ("sh", ())]),
        ("cat > f <<EOF\ndocker ps\nEOF\ndocker ps", [("sh", ()), ("docker", ("ps",))]),
        ("$ docker ps", [("docker", ("ps",))]),
    ],
)
def test_a_cell_is_read_command_by_command(cell: str, expected: list[tuple[str, tuple[str, ...]]]) -> None:
    assert [("docker" if line.words else "sh", line.words) for line in parts(cell)] == expected


def test_lines_up_to_exit_are_typed_into_the_container() -> None:
    first, second = parts("docker run -it --name dev busybox sh\ntouch /x\nls\nexit\ndocker diff dev")
    assert (first.body, second.words) == ("touch /x\nls\n", ("diff", "dev"))


def test_folder_and_variables_persist_and_failures_end_the_cell(tmp_path: Path) -> None:
    shell, said = Shell(tmp_path), []
    shell.run(f"cd {tmp_path}; X=1; export Y=2", said.append)
    shell.run('pwd; echo "$X$Y"', said.append)
    assert "".join(said) == f"{tmp_path}\n12\n"
    with pytest.raises(ShellFailed) as caught:
        shell.run("echo before; false; echo after", said.append)
    assert caught.value.exit_code == 1 and "after" not in "".join(said)


def test_the_kernel_s_folder_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path)
    shell, said = Shell(tmp_path), []
    shell.run("cd a", said.append)
    assert shell.folder == tmp_path / "a"
    monkeypatch.chdir(tmp_path / "b")  # `%cd b`
    shell.run("pwd", said.append)
    assert "".join(said) == f"{tmp_path / 'b'}\n"
    (tmp_path / "b").rmdir()
    assert shell.folder == tmp_path / "b"


@pytest.mark.parametrize(
    ("line", "cell", "some"),
    [
        ("%container ru", "", {"run"}),
        ("%container run --na", "", {"--name"}),
        ("docker system c", "%%docker\n", {"check"}),
        ("FRO", "%%dockerfile -t x\nFRO", {"FROM"}),
        ("%container run --n", "", {"--name", "--network", "--network-alias", "--no-healthcheck"}),
        ("print(1", "", set()),
    ],
)
def test_completion(line: str, cell: str, some: set[str]) -> None:
    assert set(candidates(line, cell)) == some
