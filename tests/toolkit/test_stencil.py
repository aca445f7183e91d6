from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.template import engines
from django.template.loader import render_to_string
from django.utils.safestring import mark_safe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portal.toolkit.stencil import Stencil

TEMPLATE = (
    '<p title="{{ a.name }}">100% {{ a.name }}{% if a.note %} ({{ a.note }}){% elif a.b.deep %}!{% endif %}'
    "{{ a.b.deep }}{{ a.icon }}{{ a.name }}</p>"
)
FIELDS = ("a.name", "a.note", "a.b.deep")


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "stencil.html").write_text(TEMPLATE)
    engine = engines["django"].engine  # type: ignore[attr-defined]
    monkeypatch.setattr(engine, "dirs", [*engine.dirs, tmp_path])
    for loader in engine.template_loaders:
        loader.reset()
    yield "stencil.html"
    for loader in engine.template_loaders:
        loader.reset()


texts = st.text(st.sampled_from("ab<>&\"'%s\x1f{}\ue000\ue0010"), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=texts, note=texts, deep=texts)
def test_a_filled_stencil_is_what_the_template_gives(template: str, name: str, note: str, deep: str) -> None:
    context = {"a": {"name": name, "note": note, "b": {"deep": deep}, "icon": mark_safe("<svg/>")}}
    expected = render_to_string(template, context)
    stencil, values = Stencil(template, FIELDS, ["a.icon"]), [name, note, deep]
    for first in range(4):
        for safe in ([], ["<svg/>"]):
            begun = stencil.begun(values[:first], safe)
            assert begun.filled(values[first:], [] if safe else ["<svg/>"]) == expected


def test_the_template_is_rendered_once_for_each_set_of_empty_fields(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[str] = []

    def noted(name: str, context: dict[str, object]) -> str:
        rendered.append(name)
        return render_to_string(name, context)

    monkeypatch.setattr("portal.toolkit.stencil.render_to_string", noted)
    stencil = Stencil(template, FIELDS, ["a.icon"])
    for name in ("one", "another"):
        begun = stencil.begun([name])
        for note in ("x", "y", "", "z", ""):
            begun.filled([note, "deep"], ["<svg/>"])
    assert len(rendered) == 2
