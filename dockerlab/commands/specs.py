"""The words that dockerlab knows: docker's own, with docker's help. What docker has and we do not yet is refused by name."""

from __future__ import annotations

from dockerlab.commands import checks
from dockerlab.commands.grammar import Command, Flag
from dockerlab.commands.mounting import mount

__all__ = ["COMMANDS"]

_LATER = "not done by dockerlab yet"


def _refused(names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), _LATER)


_KEYS = Flag("detach-keys", "string", help="Override the key sequence for detaching a container")
_LIMITS = (
    Flag("cpu-period", "int", help="Limit CPU CFS (Completely Fair Scheduler) period"),
    Flag("cpu-quota", "int", help="Limit CPU CFS (Completely Fair Scheduler) quota"),
    Flag("cpu-shares", "int", "c", help="CPU shares (relative weight)"),
    Flag("cpus", "decimal", help="Number of CPUs"),
    Flag("cpuset-cpus", "string", help="CPUs in which to allow execution (0-3, 0,1)"),
    Flag("cpuset-mems", "string", help="MEMs in which to allow execution (0-3, 0,1)"),
    Flag("memory", "bytes", "m", help="Memory limit"),
    Flag("memory-reservation", "bytes", help="Memory soft limit"),
    Flag("pids-limit", "int", help="Tune container pids limit (set -1 for unlimited)"),
)
_RUN = (
    *_LIMITS,
    Flag("memory-swap", "swap", help="Swap limit equal to memory plus swap: '-1' to enable unlimited swap", meta="bytes"),
    Flag("memory-swappiness", "int", "", -1, "Tune container memory swappiness (0 to 100)"),
    Flag("add-host", "list", help="Add a custom host-to-IP mapping (host:ip)", check=checks.extra_host),
    Flag("attach", "list", "a", help="Attach to STDIN, STDOUT or STDERR", check=checks.stream),
    Flag("cidfile", "string", help="Write the container ID to the file"),
    Flag("dns", "list", help="Set custom DNS servers", check=checks.address),
    Flag("dns-opt", "list", help="Set DNS options", hidden=True),
    Flag("dns-option", "list", help="Set DNS options"),
    Flag("dns-search", "list", help="Set custom DNS search domains", check=checks.domain),
    Flag("expose", "list", help="Expose a port or a range of ports"),
    Flag("group-add", "list", help="Add additional groups to join"),
    Flag("label-file", "list", help="Read in a line delimited file of labels"),
    Flag("stop-signal", "string", help="Signal to stop the container"),
    Flag("stop-timeout", "int", help="Timeout (in seconds) to stop a container"),
    Flag("ulimit", "list", help="Ulimit options", meta="ulimit", check=checks.ulimit),
    Flag("cap-add", "list", help="Add Linux capabilities"),
    Flag("cap-drop", "list", help="Drop Linux capabilities"),
    Flag("entrypoint", "string", help="Overwrite the default ENTRYPOINT of the image"),
    Flag("env", "list", "e", help="Set environment variables", check=checks.variable),
    Flag("env-file", "list", help="Read in a file of environment variables"),
    Flag("hostname", "string", "h", help="Container host name"),
    Flag("health-cmd", "string", help="Command to run to check health"),
    Flag("health-interval", "duration", help="Time between running the check (ms|s|m|h) (default 0s)"),
    Flag("health-retries", "int", help="Consecutive failures needed to report unhealthy"),
    Flag("health-start-interval", "duration", help="Time between running the check during the start period (ms|s|m|h) (default 0s)"),
    Flag("health-start-period", "duration", help="Start period for the container to initialize before starting health-retries countdown (ms|s|m|h) (default 0s)"),
    Flag("health-timeout", "duration", help="Maximum time to allow one check to run (ms|s|m|h) (default 0s)"),
    Flag("no-healthcheck", "bool", help="Disable any container-specified HEALTHCHECK"),
    Flag("init", "bool", help="Run an init inside the container that forwards signals and reaps processes"),
    Flag("interactive", "bool", "i", help="Keep STDIN open even if not attached"),
    Flag("label", "list", "l", help="Set meta data on a container", check=checks.label),
    Flag("name", "string", help="Assign a name to the container"),
    Flag("net", "string", help="Connect a container to a network", hidden=True),
    Flag("network", "string", help="Connect a container to a network", meta="network"),
    Flag("mount", "list", help="Attach a filesystem mount to the container", meta="mount", check=mount),
    Flag("domainname", "string", help="Container NIS domain name"),
    Flag("oom-score-adj", "int", help="Tune host's OOM preferences (-1000 to 1000)"),
    Flag("ipc", "string", help="IPC mode to use"),
    Flag("pid", "string", help="PID namespace to use"),
    Flag("uts", "string", help="UTS namespace to use"),
    Flag("platform", "string", help="Set platform if server is multi-platform capable"),
    Flag("pull", "string", "", "missing", 'Pull image before running ("always", "missing", "never")'),
    Flag("quiet", "bool", "q", help="Suppress the pull output"),
    Flag("sysctl", "list", help="Sysctl options", meta="map", check=checks.sysctl),
    Flag("shm-size", "bytes", help="Size of /dev/shm"),
    Flag("tmpfs", "list", help="Mount a tmpfs directory"),
    Flag("volumes-from", "list", help="Mount volumes from the specified container(s)"),
    Flag("read-only", "bool", help="Mount the container's root filesystem as read only"),
    Flag("replace", "bool", help="Remove a container of the same name first (podman's word)"),
    Flag("restart", "string", "", "no", "Restart policy to apply when a container exits"),
    Flag("rm", "bool", help="Automatically remove the container and its associated anonymous volumes when it exits"),
    Flag("security-opt", "list", help="Security Options"),
    Flag("tty", "bool", "t", help="Allocate a pseudo-TTY"),
    Flag("user", "string", "u", help="Username or UID (format: <name|uid>[:<group|gid>])"),
    Flag("volume", "list", "v", help="Bind mount a volume"),
    Flag("workdir", "string", "w", help="Working directory inside the container"),
)
_RUN_LATER = _refused(
    "annotation blkio-weight blkio-weight-device cgroup-parent cgroupns cpu-count cpu-percent cpu-rt-period "
    "cpu-rt-runtime device device-cgroup-rule device-read-bps device-read-iops device-write-bps "
    "device-write-iops disable-content-trust gpus "
    "io-maxbandwidth io-maxiops ip ip6 isolation kernel-memory link link-local-ip "
    "log-driver log-opt mac-address network-alias oom-kill-disable "
    "privileged publish p publish-all P runtime "
    "storage-opt userns volume-driver"
)
_FORMAT = Flag("format", "string", help="Format output using a custom template")
_FILTER = Flag("filter", "list", "f", help="Filter output based on conditions provided", meta="filter", check=checks.condition)
_QUIET = Flag("quiet", "bool", "q", help="Only display IDs")
_NO_TRUNC = Flag("no-trunc", "bool", help="Don't truncate output")
_TEMPLATE = Flag("format", "string", "f", help="Format output using a custom template")
_SIGNAL = Flag("signal", "string", "s", help="Signal to send to the container")
_TIMEOUT = Flag("timeout", "int", "t", 0, "Seconds to wait before killing the container")
_FORCE = Flag("force", "bool", "f", help="Do not prompt for confirmation")


def _pruned(help: str) -> Flag:
    return Flag("filter", "list", help=help, meta="filter", check=checks.condition)


COMMANDS: tuple[Command, ...] = (
    Command(
        "build", "docker build [OPTIONS] PATH | URL | -", "Build an image from a Dockerfile",
        (
            Flag("build-arg", "list", help="Set build-time variables", check=checks.variable),
            Flag("file", "string", "f", help='Name of the Dockerfile (Default is "PATH/Dockerfile")'),
            Flag("no-cache", "bool", help="Do not use cache when building the image"),
            Flag("quiet", "bool", "q", help="Suppress the build output and print image ID on success"),
            Flag("tag", "list", "t", help='Name and optionally a tag in the "name:tag" format', check=checks.image_name),
            Flag("target", "string", help="Set the target build stage to build"),
        ),
        1, 1, aliases=("docker image build", "docker build"),
        refused=_refused("add-host cache-from cgroup-parent compress cpu-period cpu-quota cpu-shares cpuset-cpus cpuset-mems disable-content-trust force-rm "
                         "iidfile isolation label memory memory-swap network platform pull rm security-opt shm-size squash ulimit progress secret ssh output"),
    ),
    Command("run", "docker run [OPTIONS] IMAGE [COMMAND] [ARG...]", "Create and run a new container from an image",
            tuple(sorted((*_RUN, _KEYS,
                          Flag("sig-proxy", "bool", "", True, "Proxy received signals to the process"), Flag("detach", "bool", "d", help="Run container in background and print container ID"),
                          Flag("explain", "bool", help="Show every kernel call that made the container")), key=lambda f: f.name)),
            1, None, False, ("docker container run", "docker run"), _RUN_LATER),
    Command("create", "docker create [OPTIONS] IMAGE [COMMAND] [ARG...]", "Create a new container", _RUN, 1, None, False,
            ("docker container create", "docker create"), {**_RUN_LATER, **_refused("detach-keys sig-proxy")}),
    Command("start", "docker start [OPTIONS] CONTAINER [CONTAINER...]", "Start one or more stopped containers",
            (Flag("attach", "bool", "a", help="Attach STDOUT/STDERR and forward signals"), _KEYS, Flag("interactive", "bool", "i", help="Attach container's STDIN")),
            1, None, aliases=("docker container start", "docker start"), refused=_refused("checkpoint checkpoint-dir")),
    Command("rm", "docker rm [OPTIONS] CONTAINER [CONTAINER...]", "Remove one or more containers",
            (Flag("force", "bool", "f", help="Force the removal of a running container (uses SIGKILL)"),
             Flag("volumes", "bool", "v", help="Remove anonymous volumes associated with the container")),
            1, None, aliases=("docker container rm", "docker container remove", "docker rm"), refused=_refused("link l")),
    Command("stop", "docker stop [OPTIONS] CONTAINER [CONTAINER...]", "Stop one or more running containers", (_SIGNAL, _TIMEOUT), 1, None,
            aliases=("docker container stop", "docker stop")),
    Command("kill", "docker kill [OPTIONS] CONTAINER [CONTAINER...]", "Kill one or more running containers", (_SIGNAL,), 1, None,
            aliases=("docker container kill", "docker kill")),
    Command("wait", "docker wait CONTAINER [CONTAINER...]", "Block until one or more containers stop, then print their exit codes", (), 1, None,
            aliases=("docker container wait", "docker wait")),
    Command("restart", "docker restart [OPTIONS] CONTAINER [CONTAINER...]", "Restart one or more containers", (_SIGNAL, _TIMEOUT), 1, None,
            aliases=("docker container restart", "docker restart")),
    Command("update", "docker update [OPTIONS] CONTAINER [CONTAINER...]", "Update configuration of one or more containers",
            (*_LIMITS, Flag("memory-swap", "swap", help="Swap limit equal to memory plus swap: -1 to enable unlimited swap", meta="bytes"),
             Flag("restart", "string", help="Restart policy to apply when a container exits")), 1, None,
            aliases=("docker container update", "docker update"), refused=_refused("blkio-weight cpu-rt-period cpu-rt-runtime kernel-memory")),
    Command("rename", "docker rename CONTAINER NEW_NAME", "Rename a container", (), 2, 2, aliases=("docker container rename", "docker rename")),
    Command("top", "docker top CONTAINER [ps OPTIONS]", "Display the running processes of a container", (), 1, None, False,
            aliases=("docker container top", "docker top")),
    Command("attach", "docker attach [OPTIONS] CONTAINER", "Attach local standard input, output, and error streams to a running container",
            (_KEYS, Flag("no-stdin", "bool", help="Do not attach STDIN"), Flag("sig-proxy", "bool", "", True, "Proxy all received signals to the process")), 1, 1,
            aliases=("docker container attach", "docker attach")),
    Command("pause", "docker pause CONTAINER [CONTAINER...]", "Pause all processes within one or more containers", (), 1, None,
            aliases=("docker container pause", "docker pause")),
    Command("unpause", "docker unpause CONTAINER [CONTAINER...]", "Unpause all processes within one or more containers", (), 1, None,
            aliases=("docker container unpause", "docker unpause")),
    Command("exec", "docker exec [OPTIONS] CONTAINER COMMAND [ARG...]", "Execute a command in a running container",
            (Flag("detach", "bool", "d", help="Detached mode: run command in the background"), Flag("env", "list", "e", help="Set environment variables", check=checks.variable),
             Flag("env-file", "list", help="Read in a file of environment variables"), Flag("interactive", "bool", "i", help="Keep STDIN open even if not attached"), _KEYS,
             Flag("tty", "bool", "t", help="Allocate a pseudo-TTY"), Flag("user", "string", "u", help='Username or UID (format: "<name|uid>[:<group|gid>]")'),
             Flag("workdir", "string", "w", help="Working directory inside the container")),
            2, None, False, aliases=("docker container exec", "docker exec"), refused=_refused("privileged")),
    Command("ps", "docker ps [OPTIONS]", "List containers",
            (Flag("all", "bool", "a", help="Show all containers (default shows just running)"), _FILTER, _FORMAT,
             Flag("last", "int", "n", -1, "Show n last created containers (includes all states)"),
             Flag("latest", "bool", "l", help="Show the latest created container (includes all states)"), _NO_TRUNC,
             Flag("quiet", "bool", "q", help="Only display container IDs")),
            0, 0, aliases=("docker container ls", "docker container list", "docker container ps", "docker ps"), refused=_refused("size s")),
    Command("logs", "docker logs [OPTIONS] CONTAINER", "Fetch the logs of a container",
            (Flag("details", "bool", help="Show extra details provided to logs"), Flag("follow", "bool", "f", help="Follow log output"),
             Flag("since", "string", help='Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)'),
             Flag("tail", "string", "n", "all", "Number of lines to show from the end of the logs"), Flag("timestamps", "bool", "t", help="Show timestamps"),
             Flag("until", "string", help='Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)')),
            1, 1, aliases=("docker container logs", "docker logs")),
    Command("stats", "docker stats [OPTIONS] [CONTAINER...]", "Display a live stream of container(s) resource usage statistics",
            (Flag("all", "bool", "a", help="Show all containers (default shows just running)"), _FORMAT,
             Flag("no-stream", "bool", help="Disable streaming stats and only pull the first result"), Flag("no-trunc", "bool", help="Do not truncate output")), 0, None,
            aliases=("docker container stats", "docker stats")),
    Command("cp", "docker cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tdocker cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
            "Copy files/folders between a container and the local filesystem",
            (Flag("archive", "bool", "a", help="Archive mode (copy all uid/gid information)"), Flag("follow-link", "bool", "L", help="Always follow symbol link in SRC_PATH"),
             Flag("quiet", "bool", "q", help="Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached")),
            2, 2, aliases=("docker container cp", "docker cp"),
            more="Use '-' as the source to read a tar archive from stdin\nand extract it to a directory destination in a container.\n"
                 "Use '-' as the destination to stream a tar archive of a\ncontainer source to stdout."),
    Command("commit", "docker commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]", "Create a new image from a container's changes",
            (Flag("author", "string", "a", help='Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")'),
             Flag("change", "list", "c", help="Apply Dockerfile instruction to the created image"), Flag("message", "string", "m", help="Commit message"),
             Flag("pause", "bool", "p", True, "Pause container during commit")),
            1, 2, aliases=("docker container commit", "docker commit")),
    Command("diff", "docker diff CONTAINER", "Inspect changes to files or directories on a container's filesystem",
            (Flag("as-dockerfile", "bool", help="Draft the Dockerfile that would make these changes"),), 1, 1, aliases=("docker container diff", "docker diff")),
    Command("export", "docker export [OPTIONS] CONTAINER", "Export a container's filesystem as a tar archive",
            (Flag("output", "string", "o", help="Write to a file, instead of STDOUT"),), 1, 1, aliases=("docker container export", "docker export")),
    Command("images", "docker images [OPTIONS] [REPOSITORY[:TAG]]", "List images",
            (Flag("all", "bool", "a", help="Show all images (default hides intermediate images)"), Flag("digests", "bool", help="Show digests"), _FILTER, _FORMAT,
             _NO_TRUNC, Flag("quiet", "bool", "q", help="Only show image IDs")),
            0, 1, aliases=("docker image ls", "docker image list", "docker images"), refused=_refused("tree")),
    Command("rmi", "docker rmi [OPTIONS] IMAGE [IMAGE...]", "Remove one or more images",
            (Flag("force", "bool", "f", help="Force removal of the image"), Flag("no-prune", "bool", help="Do not delete untagged parents")),
            1, None, aliases=("docker image rm", "docker image remove", "docker rmi"), refused=_refused("platform")),
    Command("tag", "docker tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE", (), 2, 2,
            aliases=("docker image tag", "docker tag")),
    Command("history", "docker history [OPTIONS] IMAGE", "Show the history of an image",
            (_FORMAT, Flag("human", "bool", "H", True, "Print sizes and dates in human readable format"), _NO_TRUNC,
             Flag("quiet", "bool", "q", help="Only show image IDs")), 1, 1, aliases=("docker image history", "docker history"), refused=_refused("platform")),
    Command("import", "docker import [OPTIONS] file|URL|- [REPOSITORY[:TAG]]", "Import the contents from a tarball to create a filesystem image",
            (Flag("change", "list", "c", help="Apply Dockerfile instruction to the created image"),
             Flag("message", "string", "m", help="Set commit message for imported image")),
            1, 2, aliases=("docker image import", "docker import"), refused=_refused("platform")),
    Command("layers", "docker layers IMAGE [PATH...]", "Show which layer provides a path, and what it hides", (), 1, None),
    Command("inspect", "docker inspect [OPTIONS] NAME|ID [NAME|ID...]", "Return low-level information on Docker objects",
            (_TEMPLATE, Flag("type", "string", help="Only inspect objects of the given type")),
            1, None, refused=_refused("size s")),
    Command("image inspect", "docker image inspect [OPTIONS] IMAGE [IMAGE...]", "Display detailed information on one or more images",
            (_TEMPLATE,), 1, None, refused=_refused("platform")),
    Command("container inspect", "docker container inspect [OPTIONS] CONTAINER [CONTAINER...]", "Display detailed information on one or more containers",
            (_TEMPLATE,), 1, None, refused=_refused("size s")),
    Command("info", "docker info [OPTIONS]", "Display what this host allows, and what follows from it", (_TEMPLATE,), 0, 0,
            aliases=("docker system info", "docker info")),
    Command("doctor", "docker doctor", "Display what a container on this host can do, and what would lift each limit", (), 0, 0),
    Command("events", "docker events [OPTIONS]", "Get real time events from the server",
            (_FILTER, _FORMAT, Flag("since", "string", help="Show all events created since timestamp"), Flag("until", "string", help="Stream events until this timestamp")), 0, 0,
            aliases=("docker system events", "docker events")),
    Command("version", "docker version [OPTIONS]", "Show the version information", (_TEMPLATE,), 0, 0),
    Command("system check", "docker system check [OPTIONS]", "Verify that the store is sound", (Flag("repair", "bool", help="Mend what can be mended"),), 0, 0),
    Command("system df", "docker system df [OPTIONS]", "Show docker disk usage", (_FORMAT,), 0, 0, refused=_refused("verbose v")),
    Command("system resume", "docker system resume", "Start the containers that their restart policy wants to run, as after a reboot", (), 0, 0),
    Command("system prune", "docker system prune [OPTIONS]", "Remove unused data",
            (Flag("all", "bool", "a", help="Remove all unused images not just dangling ones"), _pruned('Provide filter values (e.g. "label=<key>=<value>")'), _FORCE,
             Flag("volumes", "bool", help="Prune anonymous volumes")), 0, 0),
    Command("container prune", "docker container prune [OPTIONS]", "Remove all stopped containers", (_pruned('Provide filter values (e.g. "until=<timestamp>")'), _FORCE), 0, 0),
    Command("image prune", "docker image prune [OPTIONS]", "Remove unused images",
            (Flag("all", "bool", "a", help="Remove all unused images, not just dangling ones"), _pruned('Provide filter values (e.g. "until=<timestamp>")'), _FORCE), 0, 0),
    Command("volume prune", "docker volume prune [OPTIONS]", "Remove unused local volumes",
            (Flag("all", "bool", "a", help="Remove all unused volumes, not just anonymous ones"), _pruned('Provide filter values (e.g. "label=<label>")'), _FORCE), 0, 0),
    Command("volume create", "docker volume create [OPTIONS] [VOLUME]", "Create a volume", (Flag("label", "list", help="Set metadata for a volume", check=checks.label),), 0, 1,
            refused=_refused("availability driver d group limit-bytes opt o required-bytes scope secret sharing topology-preferred topology-required type")),
    Command("volume inspect", "docker volume inspect [OPTIONS] VOLUME [VOLUME...]", "Display detailed information on one or more volumes", (_TEMPLATE,), 1, None),
    Command("volume ls", "docker volume ls [OPTIONS]", "List volumes",
            (_FILTER, _FORMAT, Flag("quiet", "bool", "q", help="Only display volume names")), 0, 0, aliases=("docker volume ls", "docker volume list"), refused=_refused("cluster")),
    Command("volume rm", "docker volume rm [OPTIONS] VOLUME [VOLUME...]", "Remove one or more volumes. You cannot remove a volume that is in use by a container.",
            (Flag("force", "bool", "f", help="Force the removal of one or more volumes"),), 1, None, aliases=("docker volume rm", "docker volume remove")),
    Command("shim install", "docker shim install [OPTIONS]", "Put a `docker` that means dockerlab on the PATH",
            (Flag("force", "bool", "f", help="Even where another docker is found first"),), 0, 0),
    Command("shim remove", "docker shim remove", "Take that `docker` away again", (), 0, 0),
)  # fmt: skip
