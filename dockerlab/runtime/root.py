"""The tier of real root: all namespaces, control groups, the kernel's own file ownership."""

from __future__ import annotations

from dockerlab.oci.runtime import Spec
from dockerlab.runtime.sandbox import Capabilities

__all__ = ["RootSandbox"]


class RootSandbox:
    """Docker's own way, without a daemon."""

    def __init__(self, overlay: str, *, cgroups: bool) -> None:
        says = "root: all namespaces, docker's capabilities, seccomp profile and masked paths" + ("" if cgroups else "; no control groups")
        self.capabilities = Capabilities("root", True, True, overlay, cgroups, True, says)

    def enter(self, shared: int = -1) -> None:
        """Nothing to do: root is root already."""

    def adapt(self, spec: Spec) -> Spec:
        """Gives the spec as it is."""
        return spec
