"""Whatever happens in whatever order, no transition and no recovery is lost.

One machine plays the world against a real database: samples, edits, people, mail servers, crashes, time. After each
step it reads back what everyone was told.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import time, timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from alerts import incidents, silences
from alerts.audit import audit
from alerts.delivery import results
from alerts.delivery.claims import claim
from alerts.delivery.smtp import DeliveryError
from alerts.models import (
    Bounce,
    Condition,
    Delivery,
    DeliveryKind,
    DeliveryStatus,
    Entry,
    Incident,
    IncidentStatus,
    Level,
    Problem,
    ProblemStatus,
    Rota,
    RotaMember,
    Rotation,
    Scope,
    Silence,
    Threshold,
    What,
)
from alerts.oncall import OnCall, Roster
from alerts.quiet import active, covering
from alerts.rules.run import evaluate_due, sweep
from alerts.rules.scope import winners
from monitoring.history import record
from monitoring.history.frame import Frame
from monitoring.models import Batch, Server, ServerGroup, ServerState
from portal.accounts.models import User
from tests.alerts.makers import make_metric, make_person, make_rota, make_server, make_threshold

pytestmark = pytest.mark.django_db(transaction=True)

SERVERS = ("web-1", "web-2", "db-1")
PEOPLE = ("ann", "ben", "cleo", "dan")
RANK = {level: rank for rank, level in enumerate(Level)}
DECIDED = [What.QUEUED, What.FOLDED, What.WITHHELD, What.SKIPPED]
STATES = {Level.CRITICAL: ServerState.CRITICAL, Level.WARNING: ServerState.WARNING, Level.INFO: ServerState.HEALTHY}


class Crashed(Exception):  # noqa: N818
    """The process died before its commit."""


class World(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        _empty()
        # Samples of hours ago are nothing special here: `_record` says when they arrived.
        self.now = timezone.now().replace(microsecond=0) - timedelta(hours=5)
        self.seen_entry = 0

    @initialize(rotation=st.sampled_from(Rotation))
    def found(self, rotation: Rotation) -> None:
        self.group, other = (ServerGroup.objects.create(name=name) for name in ("Shop", "Archive"))
        for name in SERVERS:
            make_server(name, other if name == "db-1" else self.group)
        people = [make_person(name, self.group) for name in PEOPLE]
        for person in people:
            person.memberships.create(group=other, role="viewer")
        start = (self.now - timedelta(days=3)).date()
        make_rota(self.group, *people[:3], rotation=rotation, starts_on=start, handover=time(0))
        make_rota(None, *people[2:], starts_on=start)
        make_threshold("cpu", warning=70.0, critical=85.0)
        make_threshold("memory", critical=90.0, warning=None, for_s=20, clear=80.0, no_data_after_s=60)

    # --- Samples

    @rule(
        name=st.sampled_from(SERVERS),
        cpu=st.sampled_from([10.0, 75.0, 97.0]),
        memory=st.sampled_from([10.0, 85.0, 95.0]),
    )
    def sample(self, name: str, cpu: float, memory: float) -> None:
        if self._record(name, cpu, memory):
            self._evaluate()
            self._check_cpu_against_its_limits(name, cpu)

    @rule(name=st.sampled_from(SERVERS), values=st.lists(st.sampled_from([10.0, 75.0, 97.0]), min_size=2, max_size=4))
    def several_samples_before_anyone_looks(self, name: str, values: list[float]) -> None:
        if all(self._record(name, value, value) for value in values):
            self._evaluate()
            self._check_cpu_against_its_limits(name, values[-1])

    @rule(name=st.sampled_from(SERVERS), cpu=st.sampled_from([10.0, 97.0]))
    def sample_and_crash(self, name: str, cpu: float) -> None:
        if not self._record(name, cpu, cpu):
            return
        before = _everything()
        with suppress(Crashed), transaction.atomic():
            evaluate_due(self.now)
            raise Crashed
        assert _everything() == before
        self._evaluate()
        self._check_cpu_against_its_limits(name, cpu)

    # --- Admins

    @rule(metric=st.sampled_from(["cpu", "memory"]), critical=st.sampled_from([80.0, 96.0, 99.0]))
    def edit_a_threshold(self, metric: str, critical: float) -> None:
        Threshold.objects.filter(metric__name=metric, scope=Scope.ALL).update(critical=critical)

    @rule(metric=st.sampled_from(["cpu", "memory"]), enabled=st.booleans())
    def switch_a_threshold(self, metric: str, enabled: bool) -> None:
        Threshold.objects.filter(metric__name=metric, scope=Scope.ALL).update(enabled=enabled)

    @rule(name=st.sampled_from(SERVERS), critical=st.sampled_from([None, 50.0]))
    def narrow_a_threshold(self, name: str, critical: float | None) -> None:
        server = Server.objects.filter(name=name).first()
        if server is not None:
            make_threshold("cpu", scope=Scope.SERVER, server=server, critical=critical)

    @rule(metric=st.sampled_from(["cpu", "memory"]), again=st.booleans())
    def delete_thresholds(self, metric: str, again: bool) -> None:
        Threshold.objects.filter(metric__name=metric).delete()
        if again:
            make_threshold(metric, critical=85.0)

    @rule(name=st.sampled_from(SERVERS), paused=st.booleans())
    def pause_a_server(self, name: str, paused: bool) -> None:
        Server.objects.filter(name=name).update(paused=paused)

    @rule(name=st.sampled_from(SERVERS))
    def delete_a_server(self, name: str) -> None:
        if Server.objects.count() > 1:
            for server in Server.objects.filter(name=name):
                server.delete()

    @rule(rotation=st.sampled_from(Rotation), least=st.sampled_from([Level.CRITICAL, Level.WARNING]))
    def change_the_rota(self, rotation: Rotation, least: Level) -> None:
        Rota.objects.filter(group=self.group).update(rotation=rotation, least_level=least)

    @rule(name=st.sampled_from(PEOPLE), on_it=st.booleans())
    def change_who_is_on_it(self, name: str, on_it: bool) -> None:
        rota, person = Rota.objects.get(group=self.group), User.objects.filter(username=name).first()
        if person is not None and on_it:
            RotaMember.objects.get_or_create(rota=rota, person=person)
        else:
            RotaMember.objects.filter(rota=rota, person=person).delete()

    @rule(name=st.sampled_from(PEOPLE))
    def delete_a_person(self, name: str) -> None:
        if User.objects.count() > 2:
            for person in User.objects.filter(username=name):
                person.delete()

    @rule(name=st.sampled_from(PEOPLE), is_active=st.booleans(), verified=st.booleans())
    def change_a_person(self, name: str, is_active: bool, verified: bool) -> None:
        for person in User.objects.filter(username=name):
            User.objects.filter(pk=person.pk).update(is_active=is_active)
            person.emailaddress_set.update(verified=verified)

    # --- Operators

    @rule(data=st.data(), for_s=st.sampled_from([None, 30, 300]))
    def acknowledge(self, data: st.DataObject, for_s: int | None) -> None:
        incident, by = self._any_incident(data), User.objects.first()
        assert by is not None
        if incident is None:
            return
        until = self.now + timedelta(seconds=for_s) if for_s else None
        if incident.status in (IncidentStatus.PENDING, IncidentStatus.RESOLVED):
            with pytest.raises(incidents.TooLate):
                incidents.acknowledge(incident, by, reason="mine", until=until, now=self.now)
        else:
            incidents.acknowledge(incident, by, reason="mine", until=until, now=self.now)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        incident, by = self._any_incident(data), User.objects.first()
        assert by is not None
        if incident is not None and incident.status != IncidentStatus.RESOLVED:
            incidents.release(incident, by, self.now)

    @rule(
        name=st.sampled_from([None, *SERVERS]), metric=st.sampled_from([None, "cpu"]), starts=st.sampled_from([0, 40])
    )
    def silence(self, name: str | None, metric: str | None, starts: int) -> None:
        server, by = Server.objects.filter(name=name).first(), User.objects.first()
        assert by is not None
        silences.silence(
            by,
            scope=Scope.SERVER if server else Scope.ALL,
            server=server,
            metric=make_metric(metric) if metric else None,
            reason="work",
            starts_at=self.now + timedelta(seconds=starts),
            ends_at=self.now + timedelta(seconds=starts + 90),
            now=self.now,
        )

    @rule(how=st.sampled_from(["ended", "deleted"]))
    def end_a_silence(self, how: str) -> None:
        silence, by = Silence.objects.first(), User.objects.first()
        assert by is not None
        if silence is not None and how == "ended":
            silences.end(silence, by, self.now)
        elif silence is not None:
            silence.delete()

    # --- The mail server

    @rule(fates=st.lists(st.sampled_from(["accepted", "refused", "not now"]), min_size=1, max_size=6))
    def deliver(self, fates: list[str]) -> None:
        rows = claim(self.now)
        for row, fate in zip(rows, fates * len(rows), strict=False):
            if fate == "accepted":
                assert results.accepted(row, "mx", "250 ok", self.now)
            else:
                error = DeliveryError("550 no" if fate == "refused" else "451 later", permanent=fate == "refused")
                assert results.failed(row, "mx", error, self.now)

    @rule(name=st.sampled_from(SERVERS))
    def break_and_recover_while_every_mail_is_refused(self, name: str) -> None:
        if self._record(name, 97.0, 10.0) and self._record(name, 10.0, 10.0):
            self._evaluate()
        self.deliver(["refused"])

    @precondition(lambda self: Delivery.objects.filter(kind=DeliveryKind.RECOVERED).exists())
    @rule()
    def lose_a_recovery(self) -> None:
        """No part of the portal does that; the audit is there for what nobody thought of."""
        Delivery.objects.filter(pk=Delivery.objects.filter(kind=DeliveryKind.RECOVERED).first().pk).delete()  # type: ignore[union-attr]
        audit(self.now)

    # --- Time

    @rule(seconds=st.sampled_from([5, 35, 100, 90_000]))
    def time_passes(self, seconds: int) -> None:
        if seconds > 3600 and self.now + timedelta(seconds=seconds) > timezone.now():
            seconds = 100
        self.now += timedelta(seconds=seconds)
        self._settle()
        self._check_that_every_problem_has_a_threshold()
        self._check_that_somebody_knows()

    # --- What must be true after every step

    @invariant()
    def nobody_is_told_of_a_recovery_whose_break_they_were_not_told(self) -> None:
        told = _told_of_a_break()
        for row in Delivery.objects.filter(kind=DeliveryKind.RECOVERED).exclude(status=DeliveryStatus.DEAD):
            assert _whose(row) in told, f"{row.key}: recovered what never broke"

    @invariant()
    def whoever_was_told_that_it_broke_is_told_that_it_recovered(self) -> None:
        resolved = set(Incident.objects.filter(status=IncidentStatus.RESOLVED).values_list("pk", flat=True))
        recovered = {_whose(row) for row in Delivery.objects.filter(kind=DeliveryKind.RECOVERED)}
        lost = {whose for whose in _told_of_a_break() if whose[0] in resolved} - recovered
        assert not lost, f"never told of the recovery: {lost}"

    @invariant()
    def one_event_is_told_once(self) -> None:
        fired = [_whose(row) for row in Delivery.objects.filter(kind=DeliveryKind.FIRED)]
        assert len(fired) == len(set(fired))

    @invariant()
    def incidents_are_what_their_problems_are(self) -> None:
        for incident in Incident.objects.filter(resolved_at=None):
            open_ = list(incident.problems.filter(resolved_at=None))
            firing = [one for one in open_ if one.status == ProblemStatus.FIRING]
            assert open_, f"{incident} is open without a problem"
            assert bool(firing) == (incident.status != IncidentStatus.PENDING)
            assert incident.level == min((one.level for one in firing or open_), key=_rank)
            assert _rank(incident.peak_level) <= _rank(incident.level)
        assert not Problem.objects.filter(resolved_at=None, incident__resolved_at__isnull=False).exists()

    @invariant()
    def servers_show_the_worst_that_fires(self) -> None:
        for server in Server.objects.filter(state__in=[ServerState.HEALTHY, *STATES.values()]):
            firing = Problem.objects.filter(server=server, resolved_at=None, status=ProblemStatus.FIRING)
            levels = [Level(level) for level in firing.values_list("level", flat=True)]
            assert server.state == STATES[min(levels, key=_rank, default=Level.INFO)]

    @invariant()
    def everyone_on_call_has_a_decision_on_everything_that_fired(self) -> None:
        """Of the entries of this step; a turn that ended with the step is not asked for."""
        new = Entry.objects.filter(pk__gt=self.seen_entry)
        fired = list(new.filter(what__in=[What.FIRED, What.JOINED]).select_related("incident__server"))
        roster = Roster.load(self.now) if fired else None
        for entry in fired:
            incident = entry.incident
            decisions = new.filter(incident=incident, what__in=DECIDED)
            if roster is None or decisions.filter(about_name="", what=What.SKIPPED).exists():
                continue  # said of everyone at once
            about = set(decisions.values_list("about_name", flat=True))
            group_id = incident.server.group_id if incident.server else incident.group_id
            missing = {one.name for one in roster.on_call(group_id)} - about
            assert not missing, f"no word about {missing} of {entry.get_what_display()} in {incident}"
        self.seen_entry = Entry.objects.order_by("-pk").values_list("pk", flat=True).first() or 0

    # --- How it is done

    def _any_incident(self, data: st.DataObject) -> Incident | None:
        every = list(Incident.objects.order_by("pk"))
        return data.draw(st.sampled_from(every)) if every else None

    def _record(self, name: str, cpu: float, memory: float) -> bool:
        """A frame of `name`, arrived at once; False when there is no such server any more."""
        self.now += timedelta(seconds=5)
        server = Server.objects.filter(name=name).first()
        if server is None:
            return False
        frame = Frame.of(server.pk, int(self.now.timestamp() * 1000), {"cpu": cpu, "memory": memory})
        kept = record.record([frame], origin="test")
        assert kept.kept == 2
        Batch.objects.filter(pk=kept.batch_id).update(recorded_at=self.now)
        return True

    def _evaluate(self) -> None:
        evaluate_due(self.now)
        assert not Batch.objects.filter(evaluated_at=None).exists()

    def _settle(self) -> None:
        sweep(self.now)
        audit(self.now)
        assert audit(self.now).breaks + audit(self.now).recoveries == 0, "the audit mends the same twice"

    def _check_cpu_against_its_limits(self, name: str, value: float) -> None:
        """The cpu thresholds have neither "for" nor clearing value: what fires follows from the newest sample alone."""
        server = Server.objects.get(name=name)
        if server.paused:
            return
        metric = make_metric("cpu")
        winner = winners(Threshold.objects.select_related("metric"), server).get((metric.pk, Condition.ABOVE))
        if winner is None or winner.limits(self.now) == (None, None):
            return  # the sweep ends what is left
        limits = zip((Level.WARNING, Level.CRITICAL), winner.limits(self.now), strict=True)
        beyond = [level for level, limit in limits if limit is not None and value > limit]
        firing = Problem.objects.filter(server=server, metric="cpu", condition=Condition.ABOVE, resolved_at=None)
        assert list(firing.values_list("level", flat=True)) == ([min(beyond, key=_rank)] if beyond else [])

    def _check_that_every_problem_has_a_threshold(self) -> None:
        thresholds = list(Threshold.objects.all())
        for problem in Problem.objects.filter(resolved_at=None).select_related("series", "server"):
            assert problem.server is not None
            assert problem.series is not None
            won = [
                one
                for (metric, _), one in winners(thresholds, problem.server).items()
                if metric == problem.series.metric_id
            ]
            if problem.condition == Condition.NO_DATA:
                assert any(one.no_data_after_s for one in won)
            else:
                assert any(one.direction == problem.condition and one.limits(self.now) != (None, None) for one in won)
            assert not problem.server.paused

    def _check_that_somebody_knows(self) -> None:
        """Or nobody can: after the sweep and the audit no incident rings unheard."""
        roster, holding = Roster.load(self.now), active(self.now)
        tried = {_whose(row) for row in Delivery.objects.exclude(kind=DeliveryKind.RECOVERED)}
        told = {incident for incident, _ in _told_of_a_break()}
        for incident in Incident.objects.filter(status=IncidentStatus.FIRING).select_related("server"):
            assert incident.server is not None
            rota = roster.rota(incident.server.group_id)
            if rota is None or _rank(incident.level) > _rank(rota.least_level) or covering(incident, holding):
                continue
            line: list[OnCall] = roster.line(incident.server.group_id)
            left = [one.name for one in line if one.address and (incident.pk, str(one.person.pk)) not in tried]
            assert incident.pk in told or not left, f"nobody knows of {incident}, though {left} could"


def test_nothing_is_lost_in_a_few_random_lives() -> None:
    _live(examples=3, steps=20)


@pytest.mark.slow
def test_nothing_is_lost_in_many_random_lives() -> None:
    _live(examples=14, steps=45)


def _live(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        World,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=[Phase.generate],  # (making a failure shorter would take minutes of database)
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


def _rank(level: str) -> int:
    return RANK[Level(level)]


def _whose(row: Delivery) -> tuple[int, str]:
    """The incident and the person; keys keep the person when the account is gone."""
    return row.incident_id, row.key.split("-")[1]


def _told_of_a_break() -> set[tuple[int, str]]:
    rows = Delivery.objects.exclude(kind=DeliveryKind.RECOVERED).exclude(status=DeliveryStatus.DEAD)
    return {_whose(row) for row in rows}


def _everything() -> list[object]:
    return [list(model.objects.order_by("pk").values()) for model in (Incident, Problem, Entry, Delivery)]


def _empty() -> None:
    for model in (Incident, Silence, Threshold, Rota, Bounce, Server, ServerGroup, User, Batch):
        model.objects.all().delete()
