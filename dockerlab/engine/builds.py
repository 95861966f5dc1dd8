"""`engine.builds`: a Dockerfile and a context to an image, and what that would do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dockerlab.build import advice, parser
from dockerlab.build import instructions as ins
from dockerlab.build.advice import Advice
from dockerlab.build.builder import Builder
from dockerlab.build.cache import Cache
from dockerlab.build.context import Context
from dockerlab.build.foresight import Foreseen, Foresight
from dockerlab.build.steps import Emit
from dockerlab.engine import buildmounts, scratch, stepimages
from dockerlab.engine.executing import Around, Executor
from dockerlab.engine.settings import fixed_date
from dockerlab.engine.tracing import Built, Trace
from dockerlab.errors import BuildFailed, DockerfileError, InvalidArgument
from dockerlab.events import Event, ImageBuilt
from dockerlab.oci.reference import Reference

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.engine.images import Image

__all__ = ["Around", "Builds"]


class Builds:
    """`engine.builds`; `last` is the trace of the build that was done last, or failed, here."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.last: Trace | None = None

    def build(
        self, dockerfile: str, context: Path | Context, *, tags: tuple[str, ...] = (), name: str = "Dockerfile", build_args: Mapping[str, str] | None = None,
        no_cache: bool = False, no_cache_filter: Sequence[str] = (), target: str = "", labels: Mapping[str, str] | None = None, around: Around | None = None,
        reproducible: bool = False, origin: str = "", emit: Emit = lambda _: None,
    ) -> Built:  # fmt: skip
        """Builds a Dockerfile's text in a context, or a folder that is one; raises DockerfileError, BuildFailed, NotFound. No name moves before the end.

        `reproducible`: nothing that it makes is younger than $SOURCE_DATE_EPOCH, by default 1970, so that steps which do the same give the same ids.
        `origin` is what the Dockerfile is known by from one build to the next, when a step says why it is done again; by default the folder and the file's name.
        """
        references = [Reference.parse(tag) for tag in tags]
        with _told_of(name):
            parsed = _parsed(dockerfile, name)
        source = Context.open(context, name) if isinstance(context, Path) else context
        scratch.sweep(self._engine)
        trace = self.last = Trace()

        def told(event: Event) -> None:
            trace.hear(event)
            emit(event)

        date = _date(build_args or {}, reproducible)
        with fixed_date(date), self._cache() as cache, self._engine.holds.begin() as hold:
            builder = Builder(
                Executor(self._engine, around or Around(), hold), cache, source, build_args=build_args or {}, no_cache=no_cache, cold=no_cache_filter, labels=labels,
                origin=origin or _origin(context, name, tags), name=name, platform=around.run.platform if around else "", date=date, emit=told,
            )  # fmt: skip
            try:
                with _told_of(name):
                    image = builder.build(parsed, target=target)
            finally:
                self._engine.image_store.settle()
            if not image:
                raise BuildFailed("No image was generated. Is your Dockerfile empty?", hint="add an instruction behind FROM scratch")
            for reference in references:
                self._engine.images.tag(image, str(reference), anew=False)
            emit(ImageBuilt(image, tuple(r.tagged().familiar for r in references)))
            return Built(self._engine, self._engine.images.get(image).record, trace)

    def foresee(
        self, dockerfile: str, context: Path | Context, *, name: str = "Dockerfile", build_args: Mapping[str, str] | None = None, no_cache: bool = False, target: str = "",
        no_cache_filter: Sequence[str] = (), labels: Mapping[str, str] | None = None, tags: tuple[str, ...] = (), around: Around | None = None, origin: str = "", what_if: str = "",
        reproducible: bool = False,
    ) -> list[Foreseen]:  # fmt: skip
        """Gives what `build` would do, step by step, and does nothing; `what_if` is a path of the context or `line:N` that is taken for changed. Raises as `build` does."""
        with _told_of(name):
            parsed = _parsed(dockerfile, name)
        source = Context.open(context, name) if isinstance(context, Path) else context
        date = _date(build_args or {}, reproducible)
        with _told_of(name), self._cache() as cache:
            foresight = Foresight(
                Executor(self._engine, around or Around()), cache, source, build_args=build_args or {}, no_cache=no_cache, cold=no_cache_filter, labels=labels,
                origin=origin or _origin(context, name, tags), name=name, platform=around.run.platform if around else "", date=date, emit=lambda _: None,
            )  # fmt: skip
            foresight.what_if = what_if
            return foresight.foresee(parsed, target=target)

    @staticmethod
    def check(dockerfile: str, name: str = "Dockerfile") -> list[Advice]:
        """Gives what a Dockerfile's text could do better, without building; raises DockerfileError."""
        with _told_of(name):
            parsed = _parsed(dockerfile, name)
            found = advice.stated(ins.instructions(parsed))
        return advice.Checks.parse(parsed.directives.get("check", "")).wanted(sorted(found, key=lambda each: each.line))

    def prune(self, made: Callable[[float], bool], *, keep: int = 0, steps: bool = False) -> int:
        """Removes the caches of `RUN --mount` that nobody uses and for whose last use (seconds since 1970) `made` is true, oldest first, until `keep` bytes are left; gives the bytes.

        With `steps` the images of steps as well that no name, no container and no build needs, by when they were made.
        """
        freed = buildmounts.prune(self._engine, made, keep)
        left = sum(size for *_, size in buildmounts.kept(self._engine))
        if not steps:
            return freed
        with self._cache() as cache:
            known = cache.images()
        return freed + stepimages.prune(self._engine, known, made, max(keep - left, 0), whole=not keep)

    def lines(self, image: Image) -> dict[int, str]:
        """Gives where the steps stand that made an image's layers, by their numbers from the base, as FILE:LINE: for those that were built here."""
        store, numbers = self._engine.image_store, dict[str, int]()
        for ident in self._engine.images.ancestry(image):
            config = store.config(ident)
            if config.history and not config.history[-1].empty_layer:
                numbers[ident] = len(config.rootfs.diff_ids) - 1
        with self._cache() as cache:
            return {numbers[ident]: place for ident, place in cache.places(numbers).items()}

    def _cache(self) -> Cache:
        return Cache(self._engine.home / "build-cache.db")


def _date(build_args: Mapping[str, str], reproducible: bool) -> int | None:
    """Gives the date of all that a build makes, in seconds: that of its arguments, else the environment's, else, where the same steps are to give the same ids, 1970."""
    for text in (build_args.get("SOURCE_DATE_EPOCH", ""), os.environ.get("SOURCE_DATE_EPOCH", "")):
        if text and not (text.isascii() and text.isdigit() and len(text) < 12):
            raise InvalidArgument(f"invalid SOURCE_DATE_EPOCH: {text}", hint="give seconds since 1970, as date +%s writes them")
        if text:
            return int(text)
    return 0 if reproducible else None


@contextlib.contextmanager
def _told_of(name: str) -> Iterator[None]:
    """Has an error say which file it stands in."""
    try:
        yield
    except DockerfileError as error:
        error.file = name
        raise


def _parsed(dockerfile: str, name: str) -> parser.Dockerfile:
    parsed = parser.parse(dockerfile, name)
    if "\0" in dockerfile:
        line = dockerfile.count("\n", 0, dockerfile.index("\0")) + 1
        raise DockerfileError("a NUL byte, which no name and no argument can hold", line=line, hint="save the file as text")
    return parsed


def _origin(context: Path | Context, name: str, tags: tuple[str, ...]) -> str:
    return f"{context.resolve()}\0{name}" if isinstance(context, Path) else f"\0{name}\0{tags[0]}" if tags else ""


