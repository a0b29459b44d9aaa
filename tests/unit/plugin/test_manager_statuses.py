"""Every way a plugin can end up, with plugins installed as a stranger would install them."""

from __future__ import annotations

import importlib.metadata
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest

from edge_agent.plugin.manager import PluginManager, PluginReport, Status
from edge_agent.settings import PluginSettings

REGISTER = """
@hookimpl
def edge_agent_register_analyzers():
    return [spec()]
"""


def only(manager: PluginManager) -> PluginReport:
    (report,) = manager.reports()
    return report


def by_name(manager: PluginManager) -> dict[str, Status]:
    return {report.name: report.status for report in manager.reports()}


# ---------------------------------------------------------------- enabled and disabled


def test_an_allowed_plugin_is_enabled_and_named_with_its_distribution(site, discover, context) -> None:
    site.install("acme_lamp", REGISTER)
    manager = discover()
    assert only(manager) == PluginReport("lamp", "lamp", "scene", Status.ENABLED, "nothing", "acme 1.2")
    (active,) = manager.activate(context)
    assert active.alive


def test_what_is_not_allowed_is_not_imported(site, discover, tmp_path) -> None:
    """Row 26: a plugin that is not on the allow-list is not even imported."""
    trace = tmp_path / "imported"
    site.install("acme_lamp", f"open({str(trace)!r}, 'w')" + REGISTER)
    report = only(discover(allow=()))
    assert (report.status, report.detail) == (Status.DISABLED, "not on the allow-list: add 'lamp' to plugins.allow")
    assert not trace.exists()


def test_a_star_allows_all(site, discover) -> None:
    site.install("acme_lamp", REGISTER)
    assert only(discover(allow=("*",))).status is Status.ENABLED


def test_a_plugin_disabled_by_its_settings_is_not_built(site, discover, context) -> None:
    site.install("acme_lamp", REGISTER)
    manager = discover(lamp={"enabled": False})
    assert (only(manager).status, only(manager).detail) == (Status.DISABLED, "analyzers.lamp.enabled = false")
    assert manager.activate(context) == []


def test_an_entry_point_may_name_an_object(site, discover) -> None:
    site.install(
        "acme_lamp",
        """
        class Plugin:
            @hookimpl
            def edge_agent_register_analyzers(self):
                yield spec()

        plugin = Plugin()
        """,
        target=":plugin",
    )
    assert only(discover()).status is Status.ENABLED


def test_an_allowed_plugin_that_is_not_installed_is_reported(site, discover) -> None:
    site.install("acme_lamp", REGISTER)
    details = {r.name: r.detail for r in discover(allow=("lamp", "lmap", "thermometer")).reports()}
    assert details["lmap"] == "plugins.allow names 'lmap', which no installed package offers; did you mean 'lamp'?"
    assert details["thermometer"].endswith("offers; install the package that does, or remove the name from the list")
    assert by_name(discover(allow=("*", "lmap")))["lmap"] is Status.LOAD_ERROR


# ---------------------------------------------------------------- load-error


BROKEN = {
    "import": ("raise RuntimeError('no\\nlibrary')", "RuntimeError: no library"),
    "syntax": ("def (", "SyntaxError: "),
    "missing": ("import acme_that_is_missing", "ModuleNotFoundError: No module named 'acme_that_is_missing'"),
    "exit": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "panic": ("class Panic(BaseException): pass\nraise Panic('native')", "Panic: native"),
    "nothing": ("", "it registers nothing: are its functions marked with @hookimpl?"),
    "unmarked": ("def edge_agent_register_analyzers(): return [spec()]", "it registers nothing"),
    "unknown hook": ("@hookimpl\ndef edge_agent_register_analyzer(): return []", "PluginValidationError: unknown hook"),
    "argument": ("@hookimpl\ndef edge_agent_on_event(thing): ...", "PluginValidationError: Plugin 'lamp' for hook"),
    "raises": ("@hookimpl\ndef edge_agent_register_analyzers(): 1 / 0", "ZeroDivisionError: division by zero"),
    "none": ("@hookimpl\ndef edge_agent_register_analyzers(): pass", "TypeError: 'NoneType' object is not iterable"),
    "type": (
        "@hookimpl\ndef edge_agent_register_analyzers(): return [Quiet()]",
        "TypeError: edge_agent_register_analyzers returned Quiet, expected AnalyzerSpec",
    ),
    "name": (
        "@hookimpl\ndef edge_agent_register_analyzers(): return [spec('My Lamp')]",
        "ValueError: 'My Lamp' cannot be a name: use lower-case letters, digits and _",
    ),
    "kind": (
        "@hookimpl\ndef edge_agent_register_analyzers(): return [spec(kind='scene')]",
        "TypeError: the kind of 'lamp' is 'scene', expected a member of Kind",
    ),
    "settings": (
        "@hookimpl\ndef edge_agent_register_analyzers(): return [spec(settings=dict)]",
        "TypeError: the settings of 'lamp' are no subclass of AnalyzerSettings",
    ),
    "sink": (
        "@hookimpl\ndef edge_agent_register_sinks(): return [spec()]",
        "TypeError: edge_agent_register_sinks returned AnalyzerSpec, expected SinkSpec",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_plugin_that_cannot_load_is_named_and_the_others_go_on(site, discover, context, case: str) -> None:
    """Row 26: sixteen plugins that cannot load: one status with its reason each, the others run."""
    code, detail = BROKEN[case]
    site.install("acme_lamp", code)
    site.install("good_lamp", "@hookimpl\ndef edge_agent_register_analyzers(): return [spec('good')]", "good", "good")
    manager = discover(allow=("*",))
    reports = {report.name: report for report in manager.reports()}
    assert reports["lamp"].status is Status.LOAD_ERROR
    assert reports["lamp"].detail.startswith(detail)
    assert "\n" not in reports["lamp"].detail
    assert reports["lamp"].distribution == "acme 1.2"
    assert [active.spec.name for active in manager.activate(context)] == ["good"]


def test_only_the_operator_may_interrupt(site, discover) -> None:
    site.install("acme_lamp", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        discover()


def test_the_first_analyzer_of_a_name_wins(site, discover, context) -> None:
    site.install("acme_lamp", REGISTER)
    site.install("other_lamp", REGISTER, "torch", "other")
    manager = discover(allow=("lamp", "torch"))
    assert by_name(manager) == {"lamp": Status.ENABLED, "torch:lamp": Status.LOAD_ERROR}
    assert manager.reports()[1].detail == "analyzer name 'lamp' is taken by plugin 'lamp'"
    assert len(manager.activate(context)) == 1


def test_two_packages_that_offer_the_same_plugin_are_both_refused(site, discover, tmp_path) -> None:
    trace = tmp_path / "imported"
    site.install("acme_lamp", f"open({str(trace)!r}, 'w')")
    site.install("other_lamp", f"open({str(trace)!r}, 'w')", "lamp", "other")
    report = only(discover())
    assert report.status is Status.LOAD_ERROR
    assert report.detail == "acme 1.2 and other 1.2 both offer a plugin 'lamp': uninstall one of them"
    assert not trace.exists()


def test_a_factory_that_fails_is_a_load_error(site, discover, context) -> None:
    site.install(
        "acme_lamp",
        """
        def make(settings, context):
            context.models.locate("acme")

        @hookimpl
        def edge_agent_register_analyzers():
            return [spec(factory=make, models=lambda settings: ["acme"])]
        """,
    )
    manager = discover()
    assert manager.required_models() == ["acme"]
    assert manager.activate(context) == []
    assert only(manager).status is Status.LOAD_ERROR
    assert only(manager).detail == "acme is not installed: run 'edge-agent models pull acme'"


def test_a_factory_that_leaves_the_process_does_not(site, discover, context) -> None:
    register = "@hookimpl\ndef edge_agent_register_analyzers(): return [spec(factory=lambda s, c: exit(4))]"
    site.install("acme_lamp", register)
    manager = discover()
    assert manager.activate(context) == []
    assert only(manager).detail == "SystemExit: 4"


def test_models_that_cannot_be_named_are_a_load_error(site, discover, context) -> None:
    register = "@hookimpl\ndef edge_agent_register_analyzers(): return [spec(models=lambda s: s.missing)]"
    site.install("acme_lamp", register)
    manager = discover()
    assert manager.required_models() == []
    assert only(manager).status is Status.LOAD_ERROR
    assert manager.activate(context) == []


# ---------------------------------------------------------------- config-error


CHOOSY = """
class LampSettings(AnalyzerSettings):
    brightness: int = Field(default=3, ge=1, description="How bright.")

@hookimpl
def edge_agent_register_analyzers():
    return [spec(settings=LampSettings)]
"""


def read(text: str) -> dict[str, Any]:
    return tomllib.loads(text)["analyzers"]


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (
            "[analyzers.lamp]\nbrigthness = 4",
            "c.toml, line 2: unknown key analyzers.lamp.brigthness; did you mean 'brightness'?",
        ),
        (
            "[analyzers]\nlamp = { brightness = 0 }",
            "c.toml, line 2: analyzers.lamp.brightness: Input should be greater than or equal to 1",
        ),
    ],
)
def test_bad_settings_name_the_line(site, discover, context, text: str, detail: str) -> None:
    site.install("acme_lamp", CHOOSY)
    manager = discover(config=text, **read(text))
    assert (only(manager).status, only(manager).detail) == (Status.CONFIG_ERROR, detail)
    assert manager.activate(context) == []
    assert manager.analyzer_settings() == {}


def test_a_table_that_no_plugin_reads_is_a_config_error(site, discover) -> None:
    site.install("acme_lamp", CHOOSY)
    text = "[analyzers.lamb]\nbrightness = 4"
    reports = {report.name: report for report in discover(config=text, **read(text)).reports()}
    assert reports["lamp"].status is Status.ENABLED
    assert reports["lamb"].status is Status.CONFIG_ERROR
    assert reports["lamb"].detail.startswith("c.toml, line 1: unknown key analyzers.lamb; did you mean 'lamp'?")


def test_the_table_of_a_plugin_that_may_not_load_is_left_alone(site, discover) -> None:
    site.install("acme_lamp", CHOOSY)
    assert only(discover(allow=(), lamp={"anything": 1})).status is Status.DISABLED


def test_a_validator_that_fails_oddly_is_contained(site, discover) -> None:
    site.install(
        "acme_lamp",
        """
        from pydantic import field_validator

        class LampSettings(AnalyzerSettings):
            colour: str = Field(default="red", description="Colour.")

            @field_validator("colour")
            @classmethod
            def check(cls, value):
                raise LookupError("palette")

        @hookimpl
        def edge_agent_register_analyzers():
            return [spec(settings=LampSettings)]
        """,
    )
    report = only(discover(lamp={"colour": "blue"}))
    assert (report.status, report.detail) == (Status.LOAD_ERROR, "LookupError: palette")


# ---------------------------------------------------------------- self-check-failed


def test_an_analyzer_that_fails_its_self_check_is_closed_and_left_out(site, discover, context, tmp_path) -> None:
    """Row 26: an analyzer that fails its own check is closed and left out."""
    closed = tmp_path / "closed"
    site.install(
        "acme_lamp",
        f"""
        class Broken(Quiet):
            def self_check(self):
                raise ValueError("dim")

            def close(self):
                open({str(closed)!r}, "x")

        @hookimpl
        def edge_agent_register_analyzers():
            return [spec(factory=lambda settings, context: Broken())]
        """,
    )
    manager = discover()
    assert manager.activate(context) == []
    assert (only(manager).status, only(manager).detail) == (Status.SELF_CHECK_FAILED, "ValueError: dim")
    assert closed.exists()


def test_a_factory_that_gives_nothing_fails_the_self_check(site, discover, context) -> None:
    register = "@hookimpl\ndef edge_agent_register_analyzers(): return [spec(factory=lambda s, c: None)]"
    site.install("acme_lamp", register)
    manager = discover()
    assert manager.activate(context) == []
    assert only(manager).status is Status.SELF_CHECK_FAILED


# ---------------------------------------------------------------- several of a kind


def test_an_analyzer_a_source_and_a_sink_may_share_a_name(site, discover, context) -> None:
    site.install(
        "acme_lamp",
        CHOOSY
        + textwrap.dedent("""
        @hookimpl
        def edge_agent_register_sources():
            return [SourceSpec("lamp", "light", video=lambda settings, clock: None)]

        @hookimpl
        def edge_agent_register_sinks():
            return [SinkSpec("lamp", "shade", factory=lambda settings: None)]
        """),
    )
    manager = discover(lamp={"brightness": 0})
    assert {(r.kind, r.status) for r in manager.reports()} == {
        ("scene", Status.CONFIG_ERROR),
        ("source", Status.ENABLED),
        ("sink", Status.ENABLED),
    }
    assert (list(manager.sources), list(manager.sinks)) == (["lamp"], ["lamp"])
    assert manager.activate(context) == []


@pytest.mark.parametrize("what", ["sources", "sinks"])
def test_a_taken_source_or_sink_is_not_replaced(site, discover, what: str) -> None:
    made = {"sources": "SourceSpec('line', __name__)", "sinks": "SinkSpec('line', __name__, factory=print)"}[what]
    code = f"@hookimpl\ndef edge_agent_register_{what}(): return [{made}]"
    site.install("acme_lamp", code)
    site.install("other_lamp", code, "torch", "other")
    manager = discover(allow=("*",))
    assert by_name(manager) == {"line": Status.ENABLED, "torch:line": Status.LOAD_ERROR}
    assert getattr(manager, what)["line"].summary == "acme_lamp"


def test_one_detector_is_active_and_the_status_of_the_other_has_the_remedy(site, discover, context) -> None:
    site.install(
        "acme_lamp",
        """
        class Blind(FaceDetector):
            def detect(self, frame):
                return []

        @hookimpl
        def edge_agent_register_analyzers():
            return [spec(n, kind=Kind.DETECTOR, factory=lambda s, c: Blind()) for n in ("second", "first")]
        """,
    )
    manager = discover()
    assert by_name(manager) == {"first": Status.ENABLED, "second": Status.DISABLED}
    assert [a.spec.name for a in manager.activate(context)] == ["first"]
    detail = manager.reports()[1].detail
    assert detail == "detector 'first' is in use: set analyzers.first.enabled = false to use this one"
    assert by_name(discover(first={"enabled": False}))["second"] is Status.ENABLED


# ---------------------------------------------------------------- this installation


def test_the_first_party_plugins_are_what_the_default_allows(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert sorted(PluginSettings().allow) == sorted(project["entry-points"]["edge_agent"])


def test_without_arguments_the_installed_entry_points_are_used(discover) -> None:
    installed = {entry_point.name for entry_point in importlib.metadata.entry_points(group="edge_agent")}
    assert installed >= {"face", "emotion", "burst"}
    assert {report.plugin for report in discover(allow=()).reports()} == installed


# ---------------------------------------------------------------- where, and before it is too late


def test_file_and_line_of_a_plugin_error_are_reported(site, discover, context) -> None:
    site.install(
        "acme_lamp",
        """
        import json

        def make(settings, context):
            return json.loads("{")  # the library below is not to blame

        @hookimpl
        def edge_agent_register_analyzers():
            return [spec(factory=make)]
        """,
    )
    manager = discover()
    manager.activate(context)
    report = only(manager)
    line = next(
        n
        for n, text in enumerate((site.folder / "acme_lamp.py").read_text().splitlines(), 1)
        if "{" in text and "loads" in text
    )
    assert report.status is Status.LOAD_ERROR
    assert report.where == f"{site.folder.name}/acme_lamp.py:{line}"
    assert report.told.endswith(f"({report.where})")


@pytest.mark.parametrize("code", ["import nowhere", "x = 1 / 0", "def broken(:"])
def test_file_and_line_of_a_plugin_import_error_are_reported(site, discover, code) -> None:
    site.install("acme_lamp", code)
    report = only(discover())
    assert report.status is Status.LOAD_ERROR
    assert report.where.startswith(f"{site.folder.name}/acme_lamp.py:")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("class A:\n    def self_check(self): pass\n    def close(self): pass", "no method analyze(frame)"),
        ("class A(Quiet):\n    def analyze(self): return []", "cannot be called as analyze(frame)"),
        ("class A(Quiet):\n    def analyze(self, frame, faces, more): return []", "cannot be called as analyze(frame)"),
    ],
)
def test_what_cannot_be_called_is_not_enabled(site, discover, context, body, says) -> None:
    code = f"{body}\n\n@hookimpl\ndef edge_agent_register_analyzers():\n    return [spec(factory=lambda s, c: A())]\n"
    site.install("acme_lamp", code)
    manager = discover()
    assert manager.activate(context) == []
    assert only(manager).status is Status.SELF_CHECK_FAILED
    assert says in only(manager).detail


@pytest.mark.parametrize("answer", ["[{'label': 'lamp'}]", "3", "1 / 0", "[Observation('Lamp!', {'on': 1.0}, 0.0)]"])
def test_an_analyzer_whose_every_answer_is_refused_is_not_called_enabled(site, discover, context, answer) -> None:
    code = f"""
        class A(Quiet):
            def analyze(self, frame):
                return {answer}

        @hookimpl
        def edge_agent_register_analyzers():
            return [spec(factory=lambda settings, context: A())]
        """
    site.install("acme_lamp", code)
    manager = discover()
    manager.activate(context, try_out=True)
    assert only(manager).status is Status.CRASHED


def test_what_is_installed_while_running_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The list of entry points is kept from session to session, until a folder of the path changes."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def names() -> set[str]:
        manager = PluginManager(["*"], {}, lambda *_: "")
        manager.discover()
        return {report.name for report in manager.reports()}

    assert "acme_lamp" not in names()
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edge_agent]\nacme_lamp = acme_lamp\n")
    assert "acme_lamp" in names()


# ---------------------------------------------------------------- what another one uses


USED = """
class Eyes(AnalyzerSettings):
    enabled: bool = False

@hookimpl
def edge_agent_register_analyzers():
    return [spec("user", uses=("eyes",)), spec("eyes", settings=Eyes, models=lambda _settings: ("irises",))]
"""


def test_what_an_analyzer_uses_runs_along_in_recordings_and_is_left_out_without_its_model(site, discover) -> None:
    site.install("acme_lamp", USED)
    assert by_name(discover())["eyes"] is Status.DISABLED, "a live run needs it enabled"
    manager = PluginManager(("lamp",), {}, str, recorded=True)
    manager.discover()
    assert by_name(manager) == {"user": Status.ENABLED, "eyes": Status.ENABLED}
    assert manager.forgo("irises")
    assert by_name(manager) == {"user": Status.ENABLED, "eyes": Status.DISABLED}
    assert "models pull irises" in next(r.detail for r in manager.reports() if r.name == "eyes")


@pytest.mark.parametrize("tables", [{"eyes": {"enabled": False}}, {"user": {"enabled": False}}])
def test_what_the_config_rules_out_or_nobody_uses_stays_off(site, tables: dict[str, Any]) -> None:
    site.install("acme_lamp", USED)
    manager = PluginManager(("lamp",), tables, str, recorded=True)
    manager.discover()
    assert by_name(manager)["eyes"] is Status.DISABLED


def test_without_the_model_of_one_that_the_config_asks_for_nothing_is_left_out(site) -> None:
    site.install("acme_lamp", USED)
    manager = PluginManager(("lamp",), {"eyes": {"enabled": True}}, str, recorded=True)
    manager.discover()
    assert not manager.forgo("irises")
    assert by_name(manager)["eyes"] is Status.ENABLED
