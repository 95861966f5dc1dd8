"""What is tried from inside a container against the host, as perl programs that need no module, and what each tier is expected to say.

A probe ends with `verdict WORD`: "refused", "own only" (something answers, but only of the container itself) or "open" (the host answers).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dockerlab.linux import calls

__all__ = ["AS_HOST", "COLUMNS", "NO_NETWORK", "NUMBERS", "OTHERS", "PRELUDE", "PROBES", "Probe", "program", "rendered"]

COLUMNS = ("docker", "root", "single", "single-chroot", "chroot", "proot")
_TRIED = "mknod mknodat ptrace process_vm_readv add_key keyctl mount unshare setns chroot syslog bpf io_uring_setup open_by_handle_at fcntl pivot_root".split()
NUMBERS = {name: calls.number(name) for name in _TRIED}

PRELUDE = r"""
$| = 1; alarm 20; our %N = (@NUMBERS@); our $secret = $ENV{SECRET}; our $pid = $ENV{OUTSIDE}; our $name = $ENV{SOCKET};
sub sys { my ($n, @a) = @_; my @b = map { /^-?\d+\z/ ? 0 + $_ : $_ . "\0" } @a; $! = 0; return syscall($N{$n}, @b) }
sub text { my ($p) = @_; open(my $f, '<', $p) or return ''; my $t = ''; sysread($f, $t, 4096); return $t }
sub reads { my ($p) = @_; return text($p) =~ /TOKEN-OF-THE-HOST/ }
sub opened { my ($p) = @_; return open(my $f, '+<', $p) ? 1 : 0 }
sub pids { # of the container alone where it has its own, else of everybody: nothing is read but by path
     opendir(my $d, '/proc') or return (); return grep { /^\d+$/ } readdir $d }
sub reached { my ($ip, $port) = @_; socket(my $s, 2, 1, 0) or return 0; local $SIG{ALRM} = sub { die }; my $ok = 0;
     eval { alarm 1; $ok = connect($s, pack('S n C4 x8', 2, $port, split /\./, $ip)) ? 1 : 0; alarm 20 }; alarm 20; return $ok }
sub gateway { for (split /\n/, text('/proc/net/route')) { my @f = split; return join '.', reverse map hex, $f[2] =~ /../g if $f[1] eq '00000000' } return () }
sub verdict { print "VERDICT $_[0]\n"; exit 0 }
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing that is tried. `words` are what the columns say, in their order; `net` is docker's --network."""

    says: str
    words: tuple[str, ...]
    code: str
    net: str = "host"
    caps: tuple[str, ...] = field(default=())


def _all(word: str, **others: str) -> tuple[str, ...]:
    return tuple(others.get(column.replace("-", "_"), word) for column in COLUMNS)


_OPEN_OR_REFUSED = "verdict($found ? 'open' : 'refused');"
AS_HOST = "as on the host"
NO_NETWORK = "no such network"

PROBES: tuple[Probe, ...] = (
    Probe("a file of the host by its path, with `..` and through a symlink", _all("refused"),
          "symlink($secret, '/tmp/way'); my $found = grep { reads($_) } $secret, '/../../../../..' . $secret, '/tmp/way', '/proc/self/cwd/../../..' . $secret;" + _OPEN_OR_REFUSED),
    Probe("a file of the host through /proc/*/root and /proc/*/cwd", _all("refused"),
          "my $found = grep { reads(\"/proc/$_/root$secret\") || reads(\"/proc/$_/cwd/../../../../../..$secret\") } 'self', 1, $pid, pids();" + _OPEN_OR_REFUSED),
    Probe("a descriptor that the engine left open", _all("refused"),
          "my $found = grep { sys('fcntl', $_, 1, 0) >= 0 } 3 .. 255;" + _OPEN_OR_REFUSED),
    Probe("descriptors of other processes, /proc/*/fd", _all("refused"),
          "my $found = grep { my $p = $_; $p != $$ && grep { reads(\"/proc/$p/fd/$_\") || reads(\"/proc/$p/fd/$_$secret\") } 0 .. 9 } $pid;" + _OPEN_OR_REFUSED),
    Probe("a second chroot: chroot(2), then `..` often", _all("refused"),
          "mkdir '/tmp/d'; opendir(my $d, '/'); sys('chroot', '/tmp/d'); chdir('..') for 1 .. 40; sys('chroot', '.'); my $found = reads($secret) || reads('.' . $secret);" + _OPEN_OR_REFUSED),
    Probe("mount(2)", _all("refused"), "my $found = sys('mount', 'none', '/tmp', 'tmpfs', 0, 0) == 0;" + _OPEN_OR_REFUSED),
    Probe("a user namespace of its own, unshare(2)", _all("refused"), "my $found = sys('unshare', 0x10000000) == 0;" + _OPEN_OR_REFUSED),
    Probe("another's namespaces, setns(2)", _all("refused"),
          "my $found = grep { open(my $f, '<', \"/proc/$_/ns/mnt\") && sys('setns', fileno($f), 0) == 0 } 1, $pid;" + _OPEN_OR_REFUSED),
    Probe("the host's disk by mknod(2)", _all("refused", chroot=AS_HOST),
          "my $n = '/tmp/disk'; sys('mknod', $n, 060600, $ENV{DISK}) if $N{mknod} > 0; sys('mknodat', -100, $n, 060600, $ENV{DISK}); "
          "my $found = open(my $f, '<', $n) && sysread($f, my $t, 512) == 512;" + _OPEN_OR_REFUSED),
    Probe("/proc/sysrq-trigger", _all("refused"), "my $found = opened('/proc/sysrq-trigger');" + _OPEN_OR_REFUSED),
    Probe("/proc/kcore", _all("refused"), "my $found = length text('/proc/kcore');" + _OPEN_OR_REFUSED),
    Probe("settings of the kernel, /proc/sys", _all("refused"), "my $found = grep { opened(\"/proc/sys/$_\") } 'kernel/core_pattern', 'kernel/modprobe', 'vm/swappiness';" + _OPEN_OR_REFUSED),
    Probe("keyrings, add_key(2) and keyctl(2)", _all("refused"),
          "my $k = sys('add_key', 'user', 'dockerlab-probe', 'x', 1, -3); my $found = $k > 0; sys('keyctl', 9, $k, -3) if $found; $found ||= sys('keyctl', 0, -4, 0) > 0;" + _OPEN_OR_REFUSED),
    Probe("a signal to a process outside", _all("refused"), "my $found = kill(0, $pid);" + _OPEN_OR_REFUSED),
    Probe("ptrace(2) of a process outside", _all("refused"), "my $found = sys('ptrace', 0x4206, $pid, 0, 0) == 0; sys('ptrace', 17, $pid, 0, 0) if $found;" + _OPEN_OR_REFUSED),
    Probe("the same with --cap-add SYS_PTRACE", _all("refused"),
          "my $found = grep { sys('ptrace', 0x4206, $_, 0, 0) == 0 or reads(\"/proc/$_/environ\") or reads(\"/proc/$_/root$secret\") } $pid, $ENV{MONITOR};" + _OPEN_OR_REFUSED,
          caps=("SYS_PTRACE",)),  # fmt: skip
    Probe("an abstract socket of the host, --network host", _all("open"),
          "socket(my $s, 1, 1, 0); my $found = connect($s, pack('S a*', 1, \"\\0$name\"));" + _OPEN_OR_REFUSED),
    Probe("the same, --network none", _all("refused", chroot=NO_NETWORK, proot=NO_NETWORK),
          "socket(my $s, 1, 1, 0); my $found = connect($s, pack('S a*', 1, \"\\0$name\"));" + _OPEN_OR_REFUSED, net="none"),
    Probe("the same, a network of its own", _all("refused", chroot="open", proot="open"),
          "socket(my $s, 1, 1, 0); my $found = connect($s, pack('S a*', 1, \"\\0$name\"));" + _OPEN_OR_REFUSED, net="bridge"),
    Probe("a server at 127.0.0.1 of the host, from a network of its own", _all("refused", chroot="open", proot="open"),
          "my $found = grep { reached($_, $ENV{PORT}) } '127.0.0.1', gateway();" + _OPEN_OR_REFUSED, net="bridge"),
    Probe("settings of its own network's links: the length of a queue", _all("refused"),
          "socket(my $s, 2, 2, 0); my $wish = pack('a16 i x20', 'eth0', 1000); my $found = ioctl($s, 0x8943, $wish);" + _OPEN_OR_REFUSED, net="bridge"),
    Probe("control groups, release_agent", _all("refused"),
          "my $found = grep { opened($_) } map { my $f = $_; map { \"/sys/fs/cgroup/$_$f\" } '', 'memory/', 'devices/', 'unified/', 'systemd/' } 'release_agent', 'notify_on_release', 'cgroup.procs';"
          + _OPEN_OR_REFUSED),
    Probe("the host's environment", _all("own only", proot="own, PROOT_*"),
          "my @more = grep { !/^(PATH|HOME|HOSTNAME|PWD|SHLVL|_|SECRET|OUTSIDE|SOCKET|PORT|DISK|MONITOR)$/ } sort keys %ENV; "
          "verdict('open') if join(',', %ENV) =~ /TOKEN-OF-THE-HOST/ or grep { reads(\"/proc/$_/environ\") } 1, $pid, pids(); "
          "verdict(!@more ? 'own only' : !(grep { !/^PROOT_/ } @more) ? 'own, PROOT_*' : \"open @more\");"),
    Probe("calls that docker's filter shuts: io_uring_setup(2)", _all("refused"), "my $found = sys('io_uring_setup', 1, 'x' x 120) >= 0;" + _OPEN_OR_REFUSED),
    Probe("the kernel's messages, syslog(2)", _all("refused"), "my $found = sys('syslog', 10, 0, 0) > 0;" + _OPEN_OR_REFUSED),
    Probe("bpf(2)", _all("refused"), "my $found = sys('bpf', 0, pack('LLLL', 2, 4, 4, 1) . \"\\0\" x 112, 128) >= 0;" + _OPEN_OR_REFUSED),
)  # fmt: skip


# Rows that have tests of their own: the host never changes, and nothing of it is seen.
OTHERS: dict[str, tuple[str, ...]] = {
    "changing a volume that is `:ro` (test_volumes)": _all("refused"),
    "a symlink in a volume that leads to the host (test_volumes)": _all("refused"),
    "leading what is copied back to a volume elsewhere (test_volumes)": _all("no copies", single_chroot="refused", chroot="refused"),
    "a container in another network, and one of an `--internal` network (engine/test_networks)": _all("refused", chroot=NO_NETWORK, proot=NO_NETWORK),
    "names of another network's containers (engine/test_networks)": _all("refused", chroot=NO_NETWORK, proot=NO_NETWORK),
    "an image with a symlink where something is mounted (test_volumes)": _all("refused"),
    "`-w /proc/self/fd/N`, CVE-2024-21626 (test_engine)": _all("refused"),
    "the engine's own program by /proc/self/exe, CVE-2019-5736 (test_engine)": _all("refused"),
    "a module or a codec in the image where the engine would look for its own (runtime/test_ahead)": _all("refused"),
    "another user's file by opening a descriptor anew, /dev/fd (test_engine)": _all("refused"),
}


def rendered(head: str) -> str:
    """Gives docs/isolation.md: the text `head` and the table."""
    rows = [(probe.says, probe.words) for probe in PROBES] + list(OTHERS.items())
    lines = [("what is tried", *COLUMNS), ("---",) * (len(COLUMNS) + 1), *((says, *words) for says, words in rows)]
    return head + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def program(code: str) -> str:
    """Gives a whole perl program."""
    numbers = ", ".join(f"{name} => {number}" for name, number in NUMBERS.items())
    return PRELUDE.replace("@NUMBERS@", numbers) + code
