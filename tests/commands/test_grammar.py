from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerlab.commands.grammar import Command, Flag, Parsed, find, invalid_value, parse, refusal, shown, suggest
from dockerlab.commands.help import help_text, index_text
from dockerlab.errors import NotSupportedHere, UsageError

_RUN_FLAGS = (
    Flag("env", "list", "e", help="Set environment variables"),
    Flag("entrypoint", "string", help="Overwrite the default ENTRYPOINT of the image"),
    Flag("health-interval", "duration", help="Time between running the check (ms|s|m|h) (default 0s)"),
    Flag("hostname", "string", "h", help="Container host name"),
    Flag("interactive", "bool", "i", help="Keep STDIN open even if not attached"),
    Flag("label", "list", "l", help="Set meta data on a container"),
    Flag("memory-swappiness", "int", default=-1, help="Tune container memory swappiness (0 to 100)"),
    Flag("name", "string", help="Assign a name to the container"),
    Flag("oom-score-adj", "int", help="Tune host's OOM preferences (-1000 to 1000)"),
    Flag("publish", "list", "p", help="Publish a container's port(s) to the host"),
    Flag("pull", "string", default="missing", help='Pull image before running ("always", "missing", "never")'),
    Flag("read-only", help="Mount the container's root filesystem as read only"),
    Flag("rm", help="Automatically remove the container and its associated anonymous volumes when it exits"),
    Flag("sysctl", "map", help="Sysctl options (default map[])"),
    Flag("tty", "bool", "t", help="Allocate a pseudo-TTY"),
)
RUN = Command(
    "run",
    "docker run [OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create and run a new container from an image",
    (*_RUN_FLAGS, Flag("detach", "bool", "d", help="Run container in background and print container ID"), Flag("sig-proxy", default=True)),
    1,
    interspersed=False,
    aliases=("docker container run", "docker run"),
    refused={"gpus": "there is no GPU here"},
)
CREATE = Command(
    "create",
    "docker create [OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create a new container",
    _RUN_FLAGS,
    1,
    interspersed=False,
    aliases=("docker container create", "docker create"),
)
RM = Command(
    "rm",
    "docker rm [OPTIONS] CONTAINER [CONTAINER...]",
    "Remove one or more containers",
    (
        Flag("force", "bool", "f", help="Force the removal of a running container (uses SIGKILL)"),
        Flag("link", "bool", "l", help="Remove the specified link"),
        Flag("volumes", "bool", "v", help="Remove anonymous volumes associated with the container"),
    ),
    1,
    aliases=("docker container rm", "docker container remove", "docker rm"),
)
_FORMAT = """Format output using a custom template:
'table':            Print output in table format with column headers (default)
'table TEMPLATE':   Print output in table format using the given Go template
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates"""
PS = Command(
    "ps",
    "docker ps [OPTIONS]",
    "List containers",
    (
        Flag("all", "bool", "a", help="Show all containers (default shows just running)"),
        Flag("filter", "list", "f", help="Filter output based on conditions provided", meta="filter"),
        Flag("format", "string", help=_FORMAT),
        Flag("last", "int", "n", default=-1, help="Show n last created containers (includes all states)"),
        Flag("latest", "bool", "l", help="Show the latest created container (includes all states)"),
        Flag("no-trunc", help="Don't truncate output"),
        Flag("quiet", "bool", "q", help="Only display container IDs"),
        Flag("size", "bool", "s", help="Display total file sizes"),
    ),
    0,
    0,
    aliases=("docker container ls", "docker container list", "docker container ps", "docker ps"),
)
TAG = Command(
    "tag",
    "docker tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    (),
    2,
    2,
    aliases=("docker image tag", "docker tag"),
)
IMAGES = Command(
    "images",
    "docker images [OPTIONS] [REPOSITORY[:TAG]]",
    "List images",
    (
        Flag("all", "bool", "a", help="Show all images (default hides intermediate images)"),
        Flag("digests", help="Show digests"),
        Flag("filter", "list", "f", help="Filter output based on conditions provided", meta="filter"),
        Flag("format", "string", help=_FORMAT),
        Flag("no-trunc", help="Don't truncate output"),
        Flag("quiet", "bool", "q", help="Only show image IDs"),
        Flag("tree", help="List multi-platform images as a tree (EXPERIMENTAL)"),
    ),
    0,
    1,
    aliases=("docker image ls", "docker image list", "docker images"),
)
COMMIT = Command(
    "commit",
    "docker commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    "Create a new image from a container's changes",
    (
        Flag("author", "string", "a", help='Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")'),
        Flag("change", "list", "c", help="Apply Dockerfile instruction to the created image"),
        Flag("message", "string", "m", help="Commit message"),
        Flag("pause", "bool", "p", default=True, help="Pause container during commit"),
    ),
    1,
    2,
    aliases=("docker container commit", "docker commit"),
)
BUILD = Command(
    "build",
    "docker build [OPTIONS] PATH | URL | -",
    "Build an image from a Dockerfile",
    (
        Flag("build-arg", "list"),
        Flag("file", "string", "f"),
        Flag("no-cache"),
        Flag("quiet", "bool", "q"),
        Flag("rm", default=True),
        Flag("tag", "list", "t"),
    ),
    1,
    1,
    aliases=("docker image build", "docker build", "docker builder build"),
)
CP = Command(
    "cp",
    "docker cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tdocker cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    "Copy files/folders between a container and the local filesystem\n\n"
    "Use '-' as the source to read a tar archive from stdin\nand extract it to a directory destination in a container.\n"
    "Use '-' as the destination to stream a tar archive of a\ncontainer source to stdout.",
    (
        Flag("archive", "bool", "a", help="Archive mode (copy all uid/gid information)"),
        Flag("follow-link", "bool", "L", help="Always follow symbol link in SRC_PATH"),
        Flag(
            "quiet",
            "bool",
            "q",
            help="Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached",
        ),
    ),
    2,
    2,
    aliases=("docker container cp", "docker cp"),
)
_PLATFORM = 'Remove only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")'
RMI = Command(
    "rmi",
    "docker rmi [OPTIONS] IMAGE [IMAGE...]",
    "Remove one or more images",
    (
        Flag("force", "bool", "f", help="Force removal of the image"),
        Flag("no-prune", help="Do not delete untagged parents"),
        Flag("platform", "list", help=_PLATFORM, meta="strings"),
        Flag("experiment", hidden=True),
    ),
    1,
    aliases=("docker image rm", "docker image remove", "docker rmi"),
)
VOLUME = Command("volume rm", "docker volume rm [OPTIONS] VOLUME [VOLUME...]", "Remove one or more volumes", (), 1)
DF = Command("system df", "docker system df [OPTIONS]", "Show docker disk usage", (Flag("verbose", "bool", "v"),), 0, 0)
COMMANDS = (RUN, CREATE, RM, PS, TAG, IMAGES, COMMIT, BUILD, CP, RMI, VOLUME, DF)


def understand(argv: list[str]) -> tuple[Command, Parsed]:
    command, rest = find(COMMANDS, argv)
    return command, parse(command, rest)


def refused(argv: list[str], program: str = "docker") -> UsageError:
    with pytest.raises(UsageError) as caught:
        command, rest = find(COMMANDS, argv, program=program)
        parse(command, rest, program=program)
    return caught.value


@pytest.mark.parametrize(
    ("line", "args", "values"),
    [
        ("run -it busybox sh", ("busybox", "sh"), {"interactive": True, "tty": True}),
        ("run -eA=1 -e B=2 --env=C=3 --env D x", ("x",), {"env": ("A=1", "B=2", "C=3", "D")}),
        ("run --rm=false x", ("x",), {"rm": False}),
        ("run -t=false x", ("x",), {"tty": False}),
        ("run -p=80:80 x", ("x",), {"publish": ("80:80",)}),
        ("run -e -X x", ("x",), {"env": ("-X",)}),
        ("run --name --rm x", ("x",), {"name": "--rm", "rm": False}),
        ("run --entrypoint= x", ("x",), {"entrypoint": ""}),
        ("run -h x y", ("y",), {"hostname": "x"}),
        ("run x -it --nope", ("x", "-it", "--nope"), {"tty": False}),
        ("run -- x -- y", ("x", "--", "y"), {}),
        ("run x -- y", ("x", "--", "y"), {}),
        ("run - a", ("-", "a"), {}),
        ("run -ie A x", ("x",), {"interactive": True, "env": ("A",)}),
        ("run --sysctl a=1 --sysctl b x", ("x",), {"sysctl": {"a": "1", "b": ""}}),
        ("run --health-interval 1m30.5s x", ("x",), {"health-interval": 90.5}),
        ("run --health-interval=-2ms x", ("x",), {"health-interval": -0.002}),
        ("run --memory-swappiness 0x1F x", ("x",), {"memory-swappiness": 31}),
        ("run --memory-swappiness=-010 x", ("x",), {"memory-swappiness": -8}),
        ("run x", ("x",), {"memory-swappiness": -1, "pull": "missing", "env": (), "sysctl": {}, "sig-proxy": True}),
        ("rm a -vf b", ("a", "b"), {"volumes": True, "force": True, "link": False}),
        ("rm a -- -b", ("a", "-b"), {}),
        ("ps -n 1_0", (), {"last": 10}),
        ("ps -n-5", (), {"last": -5}),
        ("container list -qa", (), {"quiet": True, "all": True}),
    ],
)
def test_reads_options_as_pflag_does(line: str, args: tuple[str, ...], values: dict[str, object]) -> None:
    _, parsed = understand(line.split())
    assert parsed.args == args
    assert {name: parsed.flag(name) for name in values} == values


def test_says_which_flags_were_typed() -> None:
    _, parsed = understand(["run", "--rm=false", "-e", "A", "x"])
    assert parsed.given == {"rm", "env"}


@pytest.mark.parametrize("line", ["run --help", "ps -h", "ps -ah x", "rm -h", "run -it --help", "help rm"])
def test_asking_for_help_skips_the_argument_count(line: str) -> None:
    assert understand(line.split())[1].help


def test_a_command_may_use_h_for_itself_and_help_may_be_declined() -> None:
    assert not understand(["run", "-h", "a", "x"])[1].help
    assert not understand(["run", "--help=false", "x"])[1].help


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run --nope", "unknown flag: --nope"),
        ("run --na x", "unknown flag: --na"),
        ("run -zz", "unknown shorthand flag: 'z' in -zz"),
        ("run --name", "flag needs an argument: --name"),
        ("run -p", "flag needs an argument: 'p' in -p"),
        (
            "run --rm=maybe x",
            'invalid argument "maybe" for "--rm" flag: strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
    ],
)
def test_option_errors_have_dockers_words(line: str, message: str) -> None:
    error = refused(line.split())
    assert (error.message, error.exit_code) == (message, 125)
    assert error.usage == "Usage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'docker run --help' for more information"


def test_the_program_name_is_in_every_message() -> None:
    error = refused(["container", "rm"], program="%container")
    assert shown(error) == (
        "%container: '%container container rm' requires at least 1 argument\n\n"
        "Usage:  %container container rm [OPTIONS] CONTAINER [CONTAINER...]\n\n"
        "See '%container container rm --help' for more information"
    )
    assert refused(["nosuchverb"], program="dockerlab").usage == "Run 'dockerlab --help' for more information"
    assert help_text(RM, "dockerlab").startswith("Usage:  dockerlab rm [OPTIONS]")
    assert "\n  dockerlab container rm, dockerlab container remove, dockerlab rm\n" in help_text(RM, "dockerlab")


def test_a_flag_that_docker_has_and_this_host_does_not() -> None:
    with pytest.raises(NotSupportedHere, match="--gpus of 'docker run' is not supported here: there is no GPU") as caught:
        understand(["run", "--gpus=all", "x"])
    assert caught.value.reason == "there is no GPU here"
    assert str(refusal(RUN, "c", "why")) == "-c of 'docker run' is not supported here: why"
    assert "gpus" not in help_text(RUN)


def test_a_value_may_be_turned_down_after_reading() -> None:
    error = invalid_value(RUN, Flag("memory", "string", "m"), 'a"b', "invalid size: 'a\"b'")
    assert error.message == 'invalid argument "a\\"b" for "-m, --memory" flag: invalid size: \'a"b\''


@pytest.mark.parametrize(
    ("line", "name", "rest"),
    [
        ("run -it x", "run", ["-it", "x"]),
        ("container run x", "container run", ["x"]),
        ("container ps -q", "container ls", ["-q"]),
        ("image remove x", "image rm", ["x"]),
        ("rmi x", "rmi", ["x"]),
        ("builder build .", "builder build", ["."]),
        ("system df -v", "system df", ["-v"]),
        ("help image rm", "image rm", ["--help"]),
    ],
)
def test_finds_the_command_by_its_longest_name(line: str, name: str, rest: list[str]) -> None:
    command, words = find(COMMANDS, line.split())
    assert (command.name, words) == (name, rest)
    assert command.usage.startswith(f"docker {name}")


@pytest.mark.parametrize(
    ("argv", "group"), [([], ""), (["--help"], ""), (["help"], ""), (["container"], "container"), (["image", "--help"], "image")]
)
def test_a_group_alone_is_a_list_of_commands(argv: list[str], group: str) -> None:
    command, rest = find(COMMANDS, argv)
    assert (command.name, command.group, rest) == (group, True, [])


def test_an_unknown_verb_comes_with_a_near_one() -> None:
    error = refused(["imagse"])
    assert (error.message, error.usage) == ("docker: unknown command: docker imagse", "Run 'docker --help' for more information")
    assert (error.exit_code, error.hint) == (1, "Try 'docker images'")
    assert refused(["run", "--entrypiont=x", "y"]).hint == "Try '--entrypoint'"
    assert refused(["help", "nosuch"]).message == "unknown help topic: nosuch"


def test_suggest() -> None:
    assert suggest("pul", ["push", "pull"]) == "pull"
    assert suggest("zebra", ["push", "pull"]) is None
    assert suggest("x" * 100_000, ["push"]) is None


def test_help_of_small_commands() -> None:
    assert help_text(TAG) == (
        "Usage:  docker tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]\n\nCreate a tag TARGET_IMAGE that refers to SOURCE_IMAGE\n\n"
        "Aliases:\n  docker image tag, docker tag\n"
    )
    wide = help_text(Command("x", "docker x", "Short", (Flag("y" * 60, "string", help="word " * 30),), 0, 0))
    assert f"      --{'y' * 60} string   \n                word word" in wide


def test_the_index_lists_common_commands_first() -> None:
    text = index_text(COMMANDS, "dockerlab")
    assert text.startswith("Usage:  dockerlab [OPTIONS] COMMAND\n\n")
    assert "Common Commands:\n  run         Create and run a new container from an image\n  ps          List containers\n" in text
    assert "\n\nManagement Commands:\n  builder     Manage builds\n  container   Manage containers\n" in text
    assert text.endswith("\n\nRun 'dockerlab COMMAND --help' for more information on a command.\n")
    assert index_text(COMMANDS, group="volume") == (
        "Usage:  docker volume COMMAND\n\nManage volumes\n\nCommands:\n  rm          Remove one or more volumes\n\n"
        "Run 'docker volume COMMAND --help' for more information on a command.\n"
    )


words = st.lists(
    st.sampled_from(["run", "ps", "rm", "container", "help", "-", "--", "-it", "-e", "--name", "--rm=x", "--gpus", "-h", "--help"])
    | st.text(max_size=8)
    | st.builds("--{}={}".format, st.sampled_from(["rm", "memory-swappiness", "health-interval", "env", "sysctl"]), st.text(max_size=8))
    | st.builds("-{}".format, st.text(max_size=4)),
    max_size=6,
)


@given(words)
def test_any_line_is_read_or_refused(argv: list[str]) -> None:
    try:
        command, rest = find(COMMANDS, argv)
        parsed = parse(command, rest)
    except (UsageError, NotSupportedHere) as error:
        assert error.exit_code in (1, 125)
        assert error.message
    else:
        assert parsed.given <= set(parsed.values)


@given(words)
def test_what_follows_the_image_is_never_read(argv: list[str]) -> None:
    assert parse(RUN, ["busybox", *argv]).args == ("busybox", *argv)


def test_long_lines_stay_quick() -> None:
    parsed = parse(RUN, ["-" + "i" * 50_000, *["-eA"] * 5_000, "x"])
    assert len(parsed.flag("env")) == 5_000
    with pytest.raises(UsageError):
        parse(RUN, ["--memory-swappiness", "9" * 1_000_000, "x"])
    with pytest.raises(UsageError):
        parse(RUN, ["--health-interval", "1s" * 100_000 + "x", "x"])
