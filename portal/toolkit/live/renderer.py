"""The hub's rendering thread: one, so that rendering never competes with itself for the interpreter."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import structlog
from django.db import close_old_connections
from django.utils import translation

from portal.toolkit.live.fragment import Fragment, content_of
from portal.toolkit.live.programs import JSON, lines_of
from portal.toolkit.live.topic import Topic, topics

logger = structlog.get_logger(__name__)


class Job(NamedTuple):
    topic: str
    language: str


class Rendering(NamedTuple):
    html: str
    content: int  # of fragment.content_of


def jobs_of(fragments: Iterable[Fragment]) -> dict[Job, dict[str, Fragment]]:
    """The fragments by what renders them in one call, then by key."""
    jobs: dict[Job, dict[str, Fragment]] = {}
    for fragment in fragments:
        jobs.setdefault(Job(fragment.address.topic, fragment.language), {})[fragment.address.key] = fragment
    return jobs


class Renderer:
    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="live-render")
        self.failing: set[str] = set()
        """Topics whose last rendering raised; written by the thread, read by the loop."""

    async def render(self, jobs: Mapping[Job, Sequence[str]]) -> dict[Job, dict[str, Rendering]]:
        """Each job's keys in one call of its topic. A topic that raises is left out, and logged the first time."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._render, jobs)

    async def urgent(self, fragments: Iterable[Fragment]) -> frozenset[Fragment]:
        """Which of these their topics want to be rendered and sent first."""
        jobs = jobs_of(fragments)
        chosen = await asyncio.get_running_loop().run_in_executor(self._thread, self._urgent, jobs)
        return frozenset(jobs[job][key] for job, keys in chosen.items() for key in keys if key in jobs[job])

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _render(self, jobs: Mapping[Job, Sequence[str]]) -> dict[Job, dict[str, Rendering]]:
        close_old_connections()  # one that died since the last time is noticed here, not by a topic
        try:
            done = ((job, self._render_topic(job, keys)) for job, keys in jobs.items())
            return {job: renderings for job, renderings in done if renderings is not None}
        finally:
            close_old_connections()

    def _urgent(self, jobs: Mapping[Job, Mapping[str, Fragment]]) -> dict[Job, frozenset[str]]:
        close_old_connections()
        try:
            return {job: self._urgent_keys(job.topic, list(keys)) for job, keys in jobs.items()}
        finally:
            close_old_connections()

    def _urgent_keys(self, topic: str, keys: Sequence[str]) -> frozenset[str]:
        try:
            return topics()[topic].urgent(keys)
        except Exception:  # another app's code, often with the database away: then nothing goes first
            logger.exception("topic does not say what is urgent", topic=topic)
            return frozenset()

    def _render_topic(self, job: Job, keys: Sequence[str]) -> dict[str, Rendering] | None:
        try:
            renderings = _render(topics()[job.topic], job.language, keys)
        except Exception:  # a topic is another app's code: whatever it raises, the other topics go on
            if job.topic not in self.failing:
                logger.exception("topic does not render", topic=job.topic, keys=len(keys))
            self.failing.add(job.topic)
            return None
        if job.topic in self.failing:
            logger.warning("topic renders again", topic=job.topic)
            self.failing.discard(job.topic)
        return renderings


def _render(topic: Topic, language: str, keys: Sequence[str]) -> dict[str, Rendering]:
    if language == JSON:
        return {key: Rendering(*lines) for key, lines in lines_of(topic, keys).items()}
    with translation.override(language):
        return {key: Rendering(html, content_of(html)) for key, html in topic.render(keys, language).items()}
