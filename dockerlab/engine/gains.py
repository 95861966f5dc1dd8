"""What a file that gives rights is worth to an attacker, and who says so: for programs that are known a sentence, for the rest by owner and kind."""

from __future__ import annotations

from dockerlab.layers.audit import Found, file_capabilities

__all__ = ["gain", "known"]

# What a program that runs as root gives whoever may start it: by its own purpose, before anybody has found a fault in it.
_ROOT = {
    "su": "becomes another user who knows the password; guessed passwords are tried here", "sudo": "runs what sudoers(5) grants as root",
    "mount": "mounts what fstab(5) marks as anybody's", "umount": "unmounts what fstab(5) marks as anybody's", "fusermount": "mounts file systems of one's own",
    "fusermount3": "mounts file systems of one's own", "passwd": "writes one's own password into /etc/shadow", "chsh": "changes one's login shell", "chfn": "changes one's entry in /etc/passwd",
    "newgrp": "starts a shell in another group", "gpasswd": "administers groups that one owns", "ping": "sends raw packets", "pkexec": "runs what polkit grants as root",
    "crontab": "has commands run later", "at": "has commands run later", "whoami": "prints root's name: harmless, and a sign that the bit works",
    "cp": "overwrites any file: /etc/shadow, /etc/sudoers", "mv": "replaces any file", "dd": "reads and writes any file and disk", "tee": "writes any file", "cat": "reads any file",
    "tail": "reads any file", "head": "reads any file", "tar": "reads and writes any file", "chmod": "makes any file anybody's", "chown": "makes any file one's own",
    "vi": "edits any file, and starts a shell as root", "vim": "edits any file, and starts a shell as root", "nano": "edits any file", "sed": "edits any file", "awk": "runs any program as root",
    "find": "runs any program as root: find . -exec", "env": "runs any program as root", "xargs": "runs any program as root", "nice": "runs any program as root",
    "bash": "is a root shell: bash -p", "sh": "is a root shell", "dash": "is a root shell", "busybox": "is a root shell, unless built to give the rights back", "ash": "is a root shell",
    "python3": "runs any code as root", "perl": "runs any code as root", "ruby": "runs any code as root", "node": "runs any code as root", "gdb": "runs any code as root",
    "git": "starts a pager, and that a shell, as root", "less": "starts a shell as root", "more": "starts a shell as root", "man": "starts a shell as root",
    "nmap": "sends raw packets, and older ones start a shell", "chage": "tells and changes when passwords expire", "expiry": "tells when a password expires",
    "unix_chkpwd": "tells whether a password is right: guessed passwords are tried here", "wall": "writes to everybody's terminal", "write": "writes to other people's terminals",
    "ssh-agent": "keeps private keys", "ssh-keysign": "signs as this machine", "dotlockfile": "locks mailboxes",
}  # fmt: skip
_GROUPS = {"shadow": "reads the password hashes in /etc/shadow", "tty": "writes to other people's terminals", "mail": "writes into other people's mailboxes", "utmp": "writes who is logged in",
           "disk": "reads and writes whole disks", "crontab": "writes other people's crontabs", "staff": "writes below /usr/local, whose programs root runs too"}  # fmt: skip
_CAPABILITIES = {
    "CAP_SETUID": "becomes any user, root too", "CAP_SETGID": "joins any group", "CAP_DAC_OVERRIDE": "reads and writes any file", "CAP_DAC_READ_SEARCH": "reads any file",
    "CAP_CHOWN": "makes any file one's own", "CAP_FOWNER": "changes any file's mode", "CAP_SYS_ADMIN": "mounts, and much else: as good as root", "CAP_SYS_PTRACE": "takes over other processes",
    "CAP_NET_RAW": "sends raw packets", "CAP_NET_BIND_SERVICE": "takes a port below 1024", "CAP_NET_ADMIN": "changes the network", "CAP_SYS_MODULE": "loads code into the kernel",
}  # fmt: skip
# The manual page that describes a program's purpose is in section 1 but for these.
_SECTION_8 = frozenset({"mount", "umount", "sudo", "ping", "unix_chkpwd", "ssh-keysign"})
_MODES, _SCRIPT = "inode(7)", "nothing: where a file begins with #! the kernel takes the rights of the interpreter, not its own"


def known(path: str) -> bool:
    """Tells whether a program is known by its name."""
    return path.rpartition("/")[2] in _ROOT


def gain(found: Found, user: str, group: str, *, script: bool = False) -> tuple[str, str]:
    """Gives what it is worth in words, and the pages that say so; `script` says that the file begins with `#!`."""
    name, said, sources = found.path.rpartition("/")[2], list[str](), list[str]()

    def say(words: str, source: str) -> None:
        if words not in said:
            said.append(words)
            sources.append(source)

    for trait in found.traits:
        if trait in ("set-uid", "set-gid", "capabilities") and script:
            say(_SCRIPT, "execve(2)")
        elif trait == "set-uid" and user == "root":
            purpose = _ROOT.get(name)
            say(purpose or "runs as root whoever starts it: a fault in it is a way to be root", f"{name}({8 if name in _SECTION_8 else 1})" if purpose else "credentials(7)")
        elif trait == "set-uid":
            say(f"acts as {user}: reads and writes what is {user}'s", "credentials(7)")
        elif trait == "set-gid":
            meaning = _GROUPS.get(group)
            say(meaning or f"acts in the group {group}: reads and writes what is that group's", "Debian's users-and-groups" if meaning else "credentials(7)")
        elif trait == "capabilities":
            for capability in file_capabilities(found.entry):
                say(_CAPABILITIES.get(capability, f"has {capability}"), "capabilities(7)")
        elif trait == "world-writable":
            say("anybody may change what is in it, and who runs or reads it later gets that", _MODES)
        else:
            say("anybody may remove and replace what others put there", _MODES)
    return "; ".join(said), ", ".join(dict.fromkeys(sources))
