"""The bundle's config.json."""

from __future__ import annotations

import json

from dockerlab.oci.runtime import Capabilities, IdMapping, Linux, Mount, Namespace, Process, Root, Spec, User


def test_what_both_runtimes_insist_on_is_written() -> None:
    made = json.loads(Spec(process=Process(args=("true",))).encode())
    assert made["ociVersion"] == "1.0.2"
    assert made["root"] == {"path": "rootfs", "readonly": False}
    assert made["process"] == {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["true"]}


def test_there_and_back() -> None:
    process = Process(
        args=("sh", "-c", "x"),
        user=User(uid=5, gid=6, additional_gids=(7,)),
        cwd="/w",
        env=("A=b",),
        capabilities=Capabilities(bounding=("CAP_CHOWN",)),
        terminal=True,
    )
    linux = Linux(
        namespaces=(Namespace(type="pid"),),
        uid_mappings=(IdMapping(container_id=0, host_id=1000, size=1),),
        seccomp={"defaultAction": "SCMP_ACT_ALLOW"},
    )
    made = Spec(
        process=process,
        root=Root(readonly=True),
        hostname="h",
        mounts=(Mount(destination="/proc", type="proc", source="proc"),),
        linux=linux,
    )
    assert Spec.decode(made.encode()) == made
    wire = json.loads(made.encode())
    assert wire["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert wire["process"]["user"] == {"uid": 5, "gid": 6, "additionalGids": [7]}
