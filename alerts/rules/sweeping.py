"""What no sample decides: silence, and what is not watched any more. Inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
from django.utils.translation import gettext_noop as _

from alerts import incidents
from alerts.models import Condition, Problem, Progress, Threshold, Watchkeeping
from alerts.rules.evaluate import NEVER, Ints
from alerts.rules.memory import Memory, find_watches, keep_progress, recall
from alerts.rules.observation import Observation, Phase
from alerts.rules.observe import ended, silent
from alerts.rules.rulebook import Indexes, Rulebook, rulebook
from alerts.rules.scope import covers
from monitoring import states
from monitoring.queries import samples
from portal.toolkit.instants import at_ms

AWAY_AFTER = timedelta(seconds=30)
"""Who has not looked for so long cannot say that it was the others who were silent."""
AHEAD_AT_MOST_MS = 5 * 60 * 1000
"""An instant further ahead than any that is kept is of a clock that was set back."""

# Why a problem ended that no value ended; stored sentences.
GONE = _("Its threshold is gone.")
OFF = _("Its threshold is switched off.")
OVERRIDDEN = _("Its threshold is overridden and does not alert for now.")
EMPTIED = _("Its threshold does not ask for this any more.")
ELSEWHERE = _("Its threshold is not for this server any more.")
NARROWER = _("A narrower threshold does not ask for this.")


def look_around(now: datetime, *, all_evaluated: bool) -> None:
    """Find silent series, and end what is not watched any more.

    While samples wait to be evaluated (not `all_evaluated`) nobody is called silent. May run twice.
    """
    keeping = _keep_watch(now)
    paused = states.pauses()
    Progress.objects.filter(server_id__in=paused).delete()  # silence during a pause is nobody's
    book = rulebook(now)
    found = _not_watched(book, paused, now)
    if all_evaluated:
        found += _silent(book, keeping, now)
    if found:
        incidents.apply(found, now)
        incidents.reflect({one.server_id for one in found}, now, fresh=False)


def _keep_watch(now: datetime) -> Watchkeeping:
    """Note that somebody looked; after a break, and after a jump of the clock, that they look since now."""
    keeping, _made = Watchkeeping.objects.get_or_create(pk=1, defaults={"swept_at": now, "resumed_at": now})
    if abs(now - keeping.swept_at) > AWAY_AFTER or keeping.resumed_at > now:
        keeping.resumed_at = now
    keeping.swept_at = now
    keeping.save(update_fields=["swept_at", "resumed_at"])
    return keeping


# --- Silence ----------------------------------------------------------------------------------------------------------


def _silent(book: Rulebook, keeping: Watchkeeping, now: datetime) -> list[Observation]:
    """The series that have been silent for as long as their threshold says, and are not known to be."""
    listening = np.flatnonzero(book.no_data_ms > 0)
    if not len(listening):
        return []
    servers = np.unique(book.server_ids[book.series_of[listening]]).tolist()
    memory = recall(book, servers, now)
    if len(memory.servers) > Progress.objects.filter(server_id__in=servers).count():
        keep_progress(book, memory)  # who has no row yet is watched from now on
    known = {(one.series_id, Phase.of(one.level)) for one in memory.silences()}
    heard_ms = _last_heard(book, memory, listening, keeping, now)
    overdue = at_ms(now) - heard_ms >= book.no_data_ms[listening]
    watches, heard_ms = _one_a_series(book, listening[overdue], heard_ms[overdue])
    new = [number for number, watch in enumerate(watches.tolist()) if _known_as(book, watch) not in known]
    watches, heard_ms = watches[new], heard_ms[new]
    # Progress knows only what was evaluated; what nobody watched until a moment ago may well have samples.
    there = _newest_of(book, watches, np.maximum(heard_ms, at_ms(now) - book.no_data_ms[watches]), now)
    watches, heard_ms = watches[there == 0], heard_ms[there == 0]
    return silent(book, watches.tolist(), np.maximum(heard_ms, _newest_of(book, watches, heard_ms, now)).tolist(), now)


def _newest_of(book: Rulebook, watches: Indexes, after_ms: Ints, now: datetime) -> Ints:
    """The newest instant (epoch ms) of each watch's series after `after_ms`, evaluated or not; 0 for none."""
    series = book.series_of[watches]
    return samples.latest_of(book.server_ids[series], book.places[series], after_ms, now)


def _known_as(book: Rulebook, watch: int) -> tuple[int, Phase]:
    return int(book.series_ids[book.series_of[watch]]), Phase(int(book.no_data_phase[watch]))


def _last_heard(book: Rulebook, memory: Memory, watches: Indexes, keeping: Watchkeeping, now: datetime) -> Ints:
    """When each watch was heard of, in epoch ms, or since when somebody has listened."""
    heard = memory.state.evaluated_to[watches]
    heard = np.where(heard > at_ms(now) + AHEAD_AT_MOST_MS, NEVER, heard)
    server = np.searchsorted(memory.servers, book.server_ids[book.series_of[watches]])
    since = memory.watched_since[server]
    since = np.where(since > at_ms(now), NEVER, since)  # before the clock was set back
    return np.maximum(np.maximum(heard, since), at_ms(keeping.resumed_at))


def _one_a_series(book: Rulebook, watches: Indexes, heard_ms: Ints) -> tuple[Indexes, Ints]:
    """Of a series that is watched in both directions the one that is worse."""
    order = np.lexsort((-book.no_data_phase[watches], book.series_of[watches]))
    first = np.append(True, np.diff(book.series_of[watches][order]) != 0)[: len(order)]
    return watches[order[first]], heard_ms[order[first]]


# --- What is not watched any more -------------------------------------------------------------------------------------


def _not_watched(book: Rulebook, paused: Mapping[int, str], now: datetime) -> list[Observation]:
    """The end of every open problem that nobody watches any more."""
    problems = list(
        Problem.objects.filter(resolved_at=None, server__isnull=False, series__isnull=False).select_related(
            "threshold", "server"
        )
    )
    judged = [one for one in problems if one.condition != Condition.NO_DATA]
    left = [one for one, watch in zip(judged, find_watches(book, judged), strict=True) if watch < 0]
    left += _no_longer_listened_to(book, [one for one in problems if one.condition == Condition.NO_DATA])
    found = (ended(one, now, because=_why(one, paused, now)) for one in left)
    return [one for one in found if one is not None]


def _no_longer_listened_to(book: Rulebook, silences: Sequence[Problem]) -> list[Problem]:
    series = book.find_series(np.array([one.series_id for one in silences], np.int64))
    left = []
    for problem, index in zip(silences, series.tolist(), strict=True):
        watches = book.watches_of(np.array([index]))[1] if index >= 0 else np.empty(0, np.intp)
        if not (book.no_data_ms[watches] > 0).any():
            left.append(problem)
    return left


def _why(problem: Problem, paused: Mapping[int, str], now: datetime) -> str:
    assert problem.server_id is not None
    if problem.server_id in paused:
        return paused[problem.server_id]
    threshold = problem.threshold
    if threshold is None or problem.server is None:
        return GONE
    if not threshold.enabled:
        return OFF
    if threshold.is_overridden(now) and threshold.limits(now) == (None, None):
        return OVERRIDDEN
    if not _asks(threshold, problem, now):
        return EMPTIED
    return NARROWER if covers(threshold, problem.server) else ELSEWHERE


def _asks(threshold: Threshold, problem: Problem, now: datetime) -> bool:
    """Whether it alerts of such problems at all."""
    if problem.condition == Condition.NO_DATA:
        return threshold.no_data_after_s is not None
    return problem.condition == threshold.direction and threshold.limits(now) != (None, None)
