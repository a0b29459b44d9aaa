"""The pages about faults: which faults, which tests, and the words around the tables that tests make of themselves.

The order of a page's tests within one fault is that of its ``sources``. See :mod:`tests.support.fault_table`.
"""

from __future__ import annotations

from tests.support.fault_table import Page

RELIABILITY = Page(
    path="docs/reliability.md",
    faults={
        1: "SIGKILL at a random moment",
        2: "SIGKILL between acknowledgement and delete",
        3: "power cut",
        4: "torn write",
        5: "disk full while running",
        6: "start on a full disk",
        7: "read-only or failing disk",
        8: "damaged database",
        9: "WAL or shm deleted",
        10: "second instance",
        11: "database of a newer version",
        12: "long broker outage",
        13: "broker restarts while draining",
        14: "half-open, slow or broken connection",
        15: "name resolution, credentials, certificates",
        16: "refusals and limits of the broker",
        17: "client id used twice",
        18: "hostile or stale command",
        19: "exception in a callback",
        20: "last will",
        28: "clock jumps, or is not set yet",
        30: "SIGTERM offline or under load",
        32: "bad config",
    },
    sources=(
        "tests/faults/test_delivery_disk.py",
        "tests/faults/test_delivery_network.py",
        "tests/integration/test_cli_errors.py",
        "tests/integration/test_commands.py",
        "tests/integration/test_run.py",
        "tests/unit/delivery/test_commands.py",
        "tests/unit/delivery/test_delivery_outbox.py",
    ),
    intro="""<!-- made by scripts/reliability: edit the tests' docstrings there -->
# Reliability

The guarantees of delivery are tested by injecting faults: real processes that are killed, real brokers, real files and
disks. Every row of the first table is a test that also runs in CI; `scripts/reliability` runs them all and writes the
table. `lost` counts messages that were committed to the outbox and then neither delivered nor kept nor counted as
dropped. The guarantee is 0, and a test fails at any other figure. Where a fault destroys data (a torn or overwritten
file), the missing messages must be counted and are not "lost" in this sense. A fault that cannot be injected on the
machine that wrote the table says so instead. Faults of cameras, microphones, plugins and models are on [a page of their
own](faults.md).

*Committed* is what these promises are about. While the broker is connected, a message is committed only if it is not
acknowledged within `outbox.hold_s` (half a second), and a kill in that time loses it, as it loses the open window; with
`hold_s = 0` every message is committed before it is sent ([wear of SD cards](hardware.md#sd-cards-and-wear)).

""",
    long_intro="""\
Runs of `scripts/torture` that are too long for CI, written by `scripts/reliability --long`. The rates are those of one
machine; the ratio to plain paho, on the same broker in the same run, holds elsewhere.
""",
)

DEVICES = Page(
    path="docs/faults.md",
    faults={
        21: "camera absent, lost and back",
        22: "capture call hangs",
        23: "frozen, black or covered camera",
        24: "damaged pictures, changing sizes",
        25: "microphone lost, late or broken",
        26: "plugin that crashes, hangs or is bad",
        27: "damaged model",
        28: "clock jumps, or is not set yet",
        29: "main loop hung",
        30: "SIGTERM offline or under load",
        31: "no processor time, no descriptors",
        32: "bad config",
        33: "hostile web clients",
    },
    sources=(
        "tests/faults/test_capture_camera_faults.py",
        "tests/integration/test_capture_streams.py",
        "tests/unit/quality/test_camera_quality.py",
        "tests/unit/analysis/test_vision.py",
        "tests/faults/test_capture_microphone_faults.py",
        "tests/integration/test_capture_microphone.py",
        "tests/faults/test_plugin_isolation.py",
        "tests/faults/test_isolated_detector.py",
        "tests/integration/test_isolated_analyzers.py",
        "tests/unit/plugin/test_manager_statuses.py",
        "tests/unit/plugin/test_manager_running.py",
        "tests/unit/models/test_store.py",
        "tests/unit/models/test_fetch.py",
        "tests/unit/summary/test_summariser.py",
        "tests/unit/runtime/test_supervisor.py",
        "tests/unit/runtime/test_process_use.py",
        "tests/faults/test_agent_faults.py",
        "tests/faults/test_delivery_network.py",
        "tests/integration/test_cli_errors.py",
        "tests/integration/test_run.py",
        "tests/faults/test_web_hostile.py",
    ),
    intro="""<!-- made by scripts/reliability: edit the tests' docstrings there -->
# Faults around the agent

What happens to an unattended device, and what the agent does then: cameras, microphones, plugins, models, the clock,
the machine, the configuration, clients of the web side. As on the page about [what delivery survives](reliability.md),
every line of the first table is a test that also runs in CI, put here by `scripts/reliability`, which runs them all;
here `lost` counts the times in which what is promised did not happen, and every test fails when it sees one.

""",
    long_intro="""\
The installed `edge-agent run` with real models, a real mosquitto and a fake service manager, and each fault
several times: the runs of `scripts/torture agent`, put here by `scripts/reliability --long agent`. They were made on
two x86-64 cores that were busy with other work, which the times include. A camera counts as lost and back when a
summary tells of it, up to a window (here 1 s) later; it is tried again after pauses that double to 10 s. What was not
watched is not counted as seen.

Not injected: a kernel that is short of memory for the agent itself. What is in a process of its own is then ended first
(`oom_score_adj`), which the tests check; a slow import only delays the start, which systemd bounds. How memory and
descriptors of an agent that is left alone develop is `scripts/soak`, its outcome in [hardware](hardware.md#boards).
""",
)

PAGES = (RELIABILITY, DEVICES)
