"""What observations do to the open incident of one server, in memory: no query here.

`Case` takes them one by one, in order of time; `alerts.incidents.apply` loads what it needs and saves what it left.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from alerts.desk import RANK
from alerts.incidents.words import Labels, limit_changed, over, wrong
from alerts.models import Entry, Incident, IncidentStatus, Level, Problem, ProblemStatus, What
from alerts.notify import News
from alerts.rules.observation import Observation, Phase
from alerts.timeline import note
from monitoring.models import Server


def phase_of(problem: Problem) -> Phase:
    return Phase.PENDING if problem.status == ProblemStatus.PENDING else Phase.of(problem.level)


def pending_level(observation: Observation) -> Level:
    """The level that a pending watch is about to reach."""
    return Level.WARNING if observation.critical_since is None else Level.CRITICAL


def changes(problem: Problem | None, observation: Observation) -> bool:
    """Whether it is more than something to remember of an open problem."""
    if problem is None:
        return observation.phase != Phase.FINE
    if observation.phase == Phase.PENDING == phase_of(problem):
        return pending_level(observation) != problem.level
    return observation.phase != phase_of(problem)


def remember(problem: Problem, observation: Observation) -> None:
    """What the evaluator must know the next time, and what a mail says of the newest sample."""
    problem.threshold_id = observation.threshold_id
    problem.warning_since, problem.critical_since = observation.warning_since, observation.critical_since
    problem.warning_held, problem.critical_held = observation.warning_held, observation.critical_held
    if observation.value is not None:
        problem.last_value = observation.value
    if observation.peak is not None:
        problem.peak = observation.peak
    if observation.phase != Phase.FINE and observation.limit not in (None, problem.limit):
        # "82 % is above 85 %" would be wrong: a limit is kept with a value that breaks it.
        problem.limit, problem.value = observation.limit, observation.value


class Case:
    """One server during one call: its open incident and problems, and all that became of them.

    `news` has one item for each incident that it went through, in order; the last is of `incident`, when one is open.
    `touched` are the problems and `dropped` the pending incidents that are to be saved and deleted.
    """

    def __init__(
        self,
        server: Server | None,
        incident: Incident | None,
        problems: Iterable[Problem],
        now: datetime,
        labels: Labels,
    ) -> None:
        self.incident = incident
        self.touched: dict[int, Problem] = {}
        self.entries: list[Entry] = []
        self.news: list[News] = []
        self.dropped: list[Incident] = []
        self._moved: dict[int, Incident] = {}
        self._server = server
        self._open = {_watch(one): one for one in problems}
        self._now = now
        self._labels = labels
        for problem in self._open.values():
            assert incident is not None
            problem.incident = incident
        if incident is not None:
            self._follow(incident)

    def take(self, observation: Observation) -> None:
        """One observation; they come in order of time."""
        at = min(observation.at, self._now)
        problem = self._open.get((observation.series_id, observation.condition))
        falls_back = observation.phase == Phase.PENDING and problem and problem.status == ProblemStatus.FIRING
        if problem is not None and (observation.phase == Phase.FINE or falls_back):
            because = observation.because or limit_changed(problem, observation.limit, observation.value)
            remember(problem, observation)
            self.end(problem, at, because)
            problem = None
        if observation.phase != Phase.FINE:
            self._go_on(problem or self._begin(observation, at), observation, at)

    def end(self, problem: Problem, at: datetime, because: str = "") -> None:
        """`problem` is over; with `because` it was not the value that ended it."""
        del self._open[_watch(problem)]
        self.touched[id(problem)] = problem
        problem.status, problem.resolved_at, problem.ended_because = ProblemStatus.RESOLVED, at, because
        self._say(What.CLEARED, at, problem, over(problem, self._labels))
        if self._current.status != IncidentStatus.PENDING and not self._firing():
            self._resolve(at, because)
        elif not self._open:
            self._drop()
        else:
            self._weigh()

    def end_all(self, problems: Iterable[Problem], at: datetime, because: str) -> None:
        """These are over; what never fired first, so that it opens nothing new."""
        for problem in sorted(problems, key=lambda one: one.status == ProblemStatus.FIRING):
            self.end(problem, at, because)

    @property
    def _current(self) -> Incident:
        assert self.incident is not None
        return self.incident

    def _firing(self) -> list[Problem]:
        return [problem for problem in self._open.values() if problem.status == ProblemStatus.FIRING]

    def _begin(self, observation: Observation, at: datetime) -> Problem:
        began_at = min(observation.began_at or at, self._now)
        if self.incident is None:
            self._follow(self._new_incident(began_at))
        problem = Problem(
            incident=self._current,
            server_id=observation.server_id,
            series_id=observation.series_id,
            condition=observation.condition,
            metric=observation.metric,
            labels=observation.labels,
            unit=observation.unit,
            status=ProblemStatus.PENDING,
            level=observation.phase.level or pending_level(observation),
            began_at=began_at,
            value=observation.value,
            limit=observation.limit,
        )
        self._open[_watch(problem)] = problem
        if observation.phase == Phase.PENDING:
            self._say(What.BEGAN, at, problem, wrong(problem, self._labels))
        return problem

    def _go_on(self, problem: Problem, observation: Observation, at: datetime) -> None:
        self.touched[id(problem)] = problem
        remember(problem, observation)
        level = observation.phase.level
        if level is None:
            problem.level = pending_level(observation)
            self._weigh()
        elif problem.status == ProblemStatus.PENDING:
            self._fire(problem, level, observation, at)
        elif level != problem.level:
            worse = RANK[level] < RANK[Level(problem.level)]
            problem.level, problem.value = level, observation.value
            self._say(What.RAISED if worse else What.LOWERED, at, problem, wrong(problem, self._labels))
            self._weigh()

    def _fire(self, problem: Problem, level: Level, observation: Observation, at: datetime) -> None:
        incident, news = self._current, self.news[-1]
        problem.status, problem.level, problem.fired_at = ProblemStatus.FIRING, level, at
        problem.value = observation.value
        text = wrong(problem, self._labels)
        news.concerned.append(problem)
        if incident.status == IncidentStatus.PENDING:
            incident.status, incident.fired_at, incident.began_at = IncidentStatus.FIRING, at, problem.began_at
            incident.level = incident.peak_level = news.reached = level
            news.fired = True
            self._say(What.FIRED, at, problem, text)
            return
        self._say(What.JOINED, at, problem, text)
        if not news.fired:
            news.joined.append(problem)
        if self._weigh():
            self._say(What.RAISED, at, problem, text)

    def _weigh(self) -> bool:
        """Take the level from the problems; whether it is worse than ever before."""
        incident, news = self._current, self.news[-1]
        if incident.status == IncidentStatus.PENDING:
            incident.level = incident.peak_level = _worst(self._open.values())
            return False
        incident.level = _worst(self._firing())
        news.reached = min(news.reached, incident.level, key=RANK.__getitem__)
        if RANK[incident.level] >= RANK[Level(incident.peak_level)]:
            return False
        incident.peak_level = incident.level
        news.rose = True
        return True

    def _resolve(self, at: datetime, because: str) -> None:
        """The incident is over; what is still pending has one of its own from here on."""
        incident = self._current
        incident.status, incident.resolved_at = IncidentStatus.RESOLVED, at
        self.entries.append(note(incident, What.RESOLVED, at, level=incident.peak_level, text=because))
        self.incident = None
        if not self._open:
            return
        self._follow(self._new_incident(min(problem.began_at for problem in self._open.values())))
        for problem in self._open.values():
            self._moved[id(problem)] = incident
            problem.incident = self._current
            self.touched[id(problem)] = problem
            self._say(What.BEGAN, at, problem, wrong(problem, self._labels))
        self._weigh()

    def _drop(self) -> None:
        """It never fired, nobody was told: as if it had not been."""
        gone = self._current
        self.incident = None
        self.news.pop()
        for key, one in self.touched.items():
            if one.incident is gone and key in self._moved:
                one.incident = self._moved[key]
        self.entries = [entry for entry in self.entries if entry.incident is not gone]
        self.touched = {key: one for key, one in self.touched.items() if one.incident is not gone}
        if not gone._state.adding:
            self.dropped.append(gone)

    def _new_incident(self, began_at: datetime) -> Incident:
        return Incident(server=self._server, status=IncidentStatus.PENDING, began_at=began_at)

    def _follow(self, incident: Incident) -> None:
        """`incident` is the open one from here on, under the name and in the group that the server has now."""
        self.incident = incident
        if self._server is not None:
            incident.server_name, incident.group_id = self._server.name, self._server.group_id
            incident.simulated = self._server.simulated
        if incident._state.adding:
            incident.level = incident.peak_level = Level.INFO
        self.news.append(News(incident, Level(incident.level), concerned=self._firing()))

    def _say(self, what: What, at: datetime, problem: Problem, text: str) -> None:
        self.entries.append(note(self._current, what, at, problem=problem, level=problem.level, text=text))


def _watch(problem: Problem) -> tuple[int, str]:
    """What tells open problems of a server apart, also when their series are gone."""
    return problem.series_id or -problem.pk, problem.condition


def _worst(problems: Iterable[Problem]) -> Level:
    return min((Level(problem.level) for problem in problems), key=RANK.__getitem__)
